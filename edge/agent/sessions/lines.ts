/**
 * The lines that the router and nginx write about sessions, field by field. They stand in edge/structure/router.js (`open`)
 * and nginx.conf (`log_format ended`); a test compares them with these.
 */

/** `connection` is nginx's number: a client may use its port again before its former session's last line is written. */
export const openedFields = ["slot", "tenantId", "backend", "connection", "address", "port", "serverPort"] as const;
/** Bytes from the client and to it; `status` is 502 if no backend took the connection. */
export const endedFields = [
  "slot",
  "tenantId",
  "connection",
  "address",
  "port",
  "serverPort",
  "status",
  "received",
  "sent",
  "seconds",
] as const;

export type OpenedLine = Record<(typeof openedFields)[number], string>;
export type EndedLine = Record<(typeof endedFields)[number], string>;

function parse<Field extends string>(fields: readonly Field[], line: string): Record<Field, string> | undefined {
  const values = line.split(" ");
  if (values.length !== fields.length) return undefined; // not one of ours, or cut off
  return Object.fromEntries(fields.map((field, index) => [field, values[index]])) as Record<Field, string>;
}

export const parseOpened = (line: string): OpenedLine | undefined => parse(openedFields, line);
export const parseEnded = (line: string): EndedLine | undefined => parse(endedFields, line);

/** A line like the router's. */
export const openedLine = (line: OpenedLine): string => openedFields.map((field) => line[field]).join(" ");

/**
 * Records of a stream. DynamoDB writes none for a write that changes nothing (developer guide, "Change data capture for
 * DynamoDB Streams"); the engine does.
 */
import { isDeepStrictEqual } from "node:util";

export interface Images {
  OldImage?: Record<string, unknown> | undefined;
  NewImage?: Record<string, unknown> | undefined;
}

/** Whether both images are the same, whatever the order of attributes and of set members is. */
export const isUnchanged = ({ OldImage, NewImage }: Images = {}): boolean =>
  OldImage !== undefined && NewImage !== undefined && isDeepStrictEqual(ordered(OldImage), ordered(NewImage));

const setTypes = new Set(["SS", "NS", "BS"]);

function ordered(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return setTypes.has(key) ? value.map(String).sort() : value.map((item) => ordered(item));
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, ordered(member, name)]),
  );
}

/** An answer of GetRecords without the records of writes that changed nothing. */
export function withoutUnchanged(answer: string): string {
  const body = JSON.parse(answer) as { Records?: { eventName?: string; dynamodb?: Images }[] };
  if (body.Records === undefined) return answer;
  const Records = body.Records.filter(({ eventName, dynamodb }) => eventName !== "MODIFY" || !isUnchanged(dynamodb));
  return Records.length === body.Records.length ? answer : JSON.stringify({ ...body, Records });
}

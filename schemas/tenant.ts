/** The tenant record: the contract between Landfall and the people and programs that write tenants. */
import { domainToASCII } from "node:url";
import ipaddr from "ipaddr.js";
import * as z from "zod";
import { tenantLimits } from "./limits.ts";

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const hostnamePattern = new RegExp(`^(?:${label}\\.)+${label}$`);

/** Checks only ASCII characters: IDNA checks the others. */
const isNameLike = (name: string) => /^(?:[A-Za-z0-9.-]|[^\0-\x7f])*$/.test(name);

/** Lower case, no trailing dot; names with letters outside ASCII in IDNA's ASCII form, or empty if there is none. */
const toAscii = (name: string) =>
  (/[^\0-\x7f]/.test(name) ? domainToASCII(name) : name.toLowerCase()).replace(/\.$/, "");

const isDnsName = (name: string) => name.length <= 253 && hostnamePattern.test(name) && !/\.[0-9]+$/.test(name);

/** A DNS name of two or more labels; after parsing in ASCII, lower case, without a trailing dot. */
export const Hostname = z
  .string()
  .refine((name) => name.length <= 254, { message: "is longer than 253 characters", abort: true })
  .refine(isNameLike, {
    message: "is not a DNS name: use labels of letters, 0-9 and '-', as in proxy.acme.com",
    abort: true,
  })
  .transform(toAscii)
  .refine((name) => name !== "", { message: "has no ASCII form (IDNA): write it as punycode, xn--…", abort: true })
  .refine((name) => name.length <= 253, { message: "is longer than 253 characters", abort: true })
  .refine((name) => !/\.[0-9]+$/.test(name), { message: "looks like an IP address: use a DNS name", abort: true })
  .refine(isDnsName, "is not a DNS name: use labels of a-z, 0-9 and '-', as in proxy.acme.com");

/** `*.parent`, one label deep. */
export const Wildcard = z
  .string()
  .refine((name) => name.startsWith("*."), { message: "must begin with '*.', as in *.acme.com", abort: true })
  .transform((name) => (isNameLike(name.slice(2)) ? `*.${toAscii(name.slice(2))}` : name))
  .refine((name) => name.length <= 253 && isDnsName(name.slice(2)), "must be '*.' and a DNS name, as in *.acme.com");

/** A region's name, as AWS writes it. Admission checks whether the fleet has it. */
export const Region = z.string().regex(/^[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}$/, "is not a region name, such as us-west-2");

export const Port = z
  .number()
  .int("must be a whole number")
  .min(1, "must be 1 or more")
  .max(65535, "must be 65535 or less");

/** A literal address in its one canonical form: no octal, no mapped IPv4, no zone. */
export const IpAddress = z
  .string()
  .refine((text) => ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(":") && ipaddr.IPv6.isValid(text)), {
    message: "is not an IP address: write it as 10.0.1.15 or fd00::15, without a port",
    abort: true,
  })
  .refine((text) => !text.includes("%"), "has a zone: leave out the part from '%' on")
  .transform((text) => ipaddr.parse(text).toString())
  .refine((text) => !/^::ffff:/.test(text), "is an IPv4 address mapped into IPv6: write the IPv4 address");

/** A backend's address, or a DNS name whose addresses are backends, such as an internal load balancer's. */
export const BackendAddress = z.string().transform((text, context) => {
  const parsed = (/^[0-9.]+$|:/.test(text) ? IpAddress : Hostname).safeParse(text);
  if (parsed.success) return parsed.data;
  context.addIssue({ code: "custom", message: parsed.error.issues[0]!.message });
  return z.NEVER;
});

export const TenantId = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "must be 1 to 63 characters of a-z, 0-9 and '-', no '-' at an end");

/** `tls` is routed by server name; any other protocol is raw and gets a port of its own. */
export const Protocol = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a protocol name such as tls, ssh or postgres");

/** Entries of ALPN that clients send, without those that would need an escape in a file's name. */
export const Alpn = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,32}$/, "must be an ALPN entry of letters, 0-9, '.', '_' and '-', such as postgresql");

/** A request that a healthy backend answers with a status below 400. */
const HttpCheck = z.strictObject({
  type: z.enum(["http", "https"], "must be http or https"),
  path: z
    .string()
    .regex(/^\/[!-~]{0,255}$/, "must be a path of at most 256 characters that begins with '/', such as /readyz"),
  port: Port.optional().describe("Of the same addresses; the protocol's own by default."),
});

/** How edges find out whether a backend is healthy, besides users' connections that fail. */
export const Check = z.union([z.enum(["tcp", "tls", "none"], "must be tcp, tls, none or an http check"), HttpCheck]);
export type Check = z.infer<typeof Check>;

const settings = z.strictObject({
  port: Port.describe("The backend's port."),
  alpn: Alpn.optional().describe(
    "Clients that offer this entry in ALPN, at the tenant's names on the TLS port. The protocol has no port of its own then.",
  ),
  proxyProtocol: z
    .enum(["v1", "v2"], "must be v1 or v2")
    .optional()
    .describe("The backend gets the client's address by this version of the PROXY protocol, and must expect it."),
  affinity: z
    .literal("source", "must be source")
    .optional()
    .describe("Connections of one client address go to the same backend, as long as it is healthy."),
  check: Check.optional().describe(
    "How edges check a backend: a connection (tcp), a handshake (tls), a request, or none, which leaves it to users' failed connections. The default is tcp, and none for protocols named ssh and mysql.",
  ),
});
type ProtocolSettings = z.infer<typeof settings>;

/** A range of client addresses in CIDR form, or one address; after parsing in CIDR form, with the first address of the range. */
export const ClientRange = z
  .string()
  .transform((text) => (text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`))
  .refine(
    (text) => !text.includes("%") && ipaddr.isValidCIDR(text) && (text.includes(":") || /^(\d+\.){3}\d+\//.test(text)),
    {
      message: "is not an address range: write it as 203.0.113.0/24 or 2001:db8::/32",
      abort: true,
    },
  )
  .refine((text) => !/^::ffff:/i.test(text), {
    message: "is an IPv4 range mapped into IPv6: write the IPv4 range",
    abort: true,
  })
  .transform(firstOfRange);

function firstOfRange(text: string): string {
  const bits = text.slice(text.indexOf("/"));
  const family = text.includes(":") ? ipaddr.IPv6 : ipaddr.IPv4;
  return `${family.networkAddressFromCIDR(text).toString()}${bits}`;
}

const count = z.number().int("must be a whole number").min(1, "must be 1 or more");
/** Sessions of one tenant on one edge. */
export const SessionLimits = z.strictObject({
  open: count.describe("Open at a time."),
  newPerSecond: count.describe("Opened in a second."),
});
export type SessionLimits = z.infer<typeof SessionLimits>;

const { hostnamesMax, wildcardsMax, protocolsMax, addressesMax, allowMax } = tenantLimits;

const fields = {
  tenantId: TenantId.describe("The tenant's own name; the key of the table. 1 to 63 characters of a-z, 0-9 and '-'."),
  hostnames: z
    .array(Hostname)
    .max(hostnamesMax, `has more than ${hostnamesMax} names`)
    .default([])
    .describe("Server names of the tenant's `tls`. Unicode is accepted and stored in its ASCII form (IDNA)."),
  wildcards: z
    .array(Wildcard)
    .max(wildcardsMax, `has more than ${wildcardsMax} wildcards`)
    .optional()
    .describe("`*.parent`: any name one label below the parent. An exact name of `hostnames` wins."),
  account: TenantId.optional().describe(
    "Whose tenant it is. Tenants of one account may have names below each other's. 1 to 63 characters of a-z, 0-9 and '-'.",
  ),
  homeRegion: Region.describe("The region whose backends serve all users, unless `multiRegion` is set."),
  multiRegion: z
    .boolean()
    .optional()
    .describe("Every edge uses the nearest region that has a healthy backend, not only the home region."),
  protocols: z
    .record(Protocol, z.union([Port, settings]))
    .refine((map) => Object.keys(map).length > 0, "is empty: name at least one protocol, as in { tls: 3080 }")
    .refine((map) => Object.keys(map).length <= protocolsMax, `has more than ${protocolsMax} protocols`)
    .meta({
      description:
        "Maps a protocol to the backend's port, alone or with settings. `tls` is reached by server name on 443, and so is what has an `alpn`; any other gets its own port.",
      minProperties: 1,
      maxProperties: protocolsMax,
    }),
  backends: z
    .record(
      Region,
      z
        .array(BackendAddress)
        .min(1, "is empty: give at least one address")
        .max(addressesMax, `has more than ${addressesMax} addresses`),
    )
    .describe(
      "Maps a region to the tenant's proxies there: IPv4 or IPv6 literals inside the fleet's ranges, or DNS names, which edges resolve every ten seconds.",
    ),
  allow: z
    .array(ClientRange)
    .min(1, "is empty: give at least one range, or leave it out to allow every address")
    .max(allowMax, `has more than ${allowMax} ranges`)
    .optional()
    .describe("Client addresses that may connect: IPv4 and IPv6 ranges. Without it every address may."),
  sessionLimits: SessionLimits.partial()
    .optional()
    .describe(
      "Sessions that the tenant may have on each edge: open at a time, and new in a second. The fleet has defaults and the most.",
    ),
  suspended: z.boolean().optional().describe("Keeps names and slots, but serves no users, while it is true."),
};

export const TenantRecord = z.strictObject(fields).superRefine((record, context) => {
  const fault = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  if (!Object.hasOwn(record.backends, record.homeRegion))
    fault(["backends"], `has no addresses in the home region ${record.homeRegion}: add them, or change homeRegion`);
  const { hostnames, wildcards = [], protocols } = record;
  const alpns = Object.entries(protocols).flatMap(([name, value]) => {
    const { alpn } = settingsOf(value);
    return alpn === undefined ? [] : [{ name, alpn }];
  });
  for (const [index, { name, alpn }] of alpns.entries()) {
    if (name === "tls")
      fault(["protocols", name, "alpn"], "is for other protocols: tls is what every other client gets");
    else if (!Object.hasOwn(protocols, "tls"))
      fault(
        ["protocols", name, "alpn"],
        "needs tls beside it: add the port that every other client at these names gets",
      );
    if (alpns.findIndex((other) => other.alpn === alpn) !== index)
      fault(["protocols", name, "alpn"], `${alpn} is another protocol's already`);
  }
  if (Object.hasOwn(record.protocols, "tls") && hostnames.length + wildcards.length === 0)
    fault(["hostnames"], "is empty: tls is routed by server name, so give a hostname or a wildcard");
  if (new Set(hostnames).size !== hostnames.length) fault(["hostnames"], "names the same host twice");
  if (new Set(wildcards).size !== wildcards.length) fault(["wildcards"], "names the same wildcard twice");
});

export type TenantRecord = z.infer<typeof TenantRecord>;

/** A protocol's settings, however the record gives them. */
export const settingsOf = (value: TenantRecord["protocols"][string]): ProtocolSettings =>
  typeof value === "number" ? { port: value } : value;

export type Parsed =
  | { ok: true; record: TenantRecord }
  /** `readable` has the fields that are well formed by themselves, for further checks. */
  | { ok: false; reasons: string[]; readable: Partial<TenantRecord> };

/** A record in its canonical form, or all its faults, each as one line that a person can act on. */
export function parseTenantRecord(input: unknown): Parsed {
  const odd = foreignPrototype(input, "record");
  if (odd !== undefined) return { ok: false, reasons: [`${odd}: has a field named __proto__`], readable: {} };
  const given = asWritten(input);
  const parsed = TenantRecord.safeParse(given);
  if (parsed.success) return { ok: true, record: parsed.data };
  const members = (typeof given === "object" ? given : undefined) as Record<string, unknown> | null | undefined;
  const readable = Object.entries(fields).flatMap(([name, schema]) => {
    const field = schema.safeParse(members?.[name]);
    return field.success && field.data !== undefined ? [[name, field.data]] : [];
  });
  return {
    ok: false,
    reasons: faultsOf(parsed.error),
    readable: Object.fromEntries(readable) as Partial<TenantRecord>,
  };
}

/** What the writer meant: a field that is NULL is absent, and a set of strings is a list, in order. */
function asWritten(value: unknown): unknown {
  if (value instanceof Set && [...value].every((member) => typeof member === "string")) return [...value].sort();
  if (Array.isArray(value)) return value.map(asWritten);
  if (value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const fields = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(fields.map(([name, member]) => [name, asWritten(member)]));
}

/** The path of a field `__proto__`, or of an object whose prototype it has become: its fields would count as read. */
function foreignPrototype(value: unknown, path: string): string | undefined {
  if (value === null || typeof value !== "object" || value instanceof Set || value instanceof Uint8Array)
    return undefined;
  const expected = Array.isArray(value) ? Array.prototype : Object.prototype;
  if (Object.getPrototypeOf(value) !== expected || Object.hasOwn(value, "__proto__")) return path;
  for (const [key, member] of Object.entries(value)) {
    const found = foreignPrototype(member, `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** `backends.us-west-2[0]: is not an IP address …` */
function faultsOf(error: z.ZodError): string[] {
  return error.issues
    .flatMap(chosenOf)
    .map((issue) => {
      const path = issue.path.reduce<string>(
        (text, key) => (typeof key === "number" ? `${text}[${key}]` : text ? `${text}.${String(key)}` : String(key)),
        "",
      );
      return `${path || "record"}: ${inWords(issue)}`;
    })
    .sort();
}

/** Of a value that may have several forms, the faults of the form that it has; of the first form if it has none. */
function chosenOf(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== "invalid_union") return [issue];
  const isOtherForm = ({ code, path }: z.core.$ZodIssue) => code === "invalid_type" && path.length === 0;
  const forms = issue.errors;
  const chosen =
    forms.find((faults) => faults.some(({ path }) => path.length > 0)) ??
    forms.find((faults) => !faults.some(isOtherForm)) ??
    forms[0]!;
  return chosen.map((fault) => ({ ...fault, path: [...issue.path, ...fault.path] })).flatMap(chosenOf);
}

/** zod's own message where it is clear, ours where a person would have to know zod. */
function inWords(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_key") return issue.issues[0]?.message ?? issue.message;
  if (issue.code !== "invalid_type") return issue.message;
  const got = issue.message.slice(issue.message.lastIndexOf(" ") + 1);
  if (got === "undefined") return "is missing";
  const kind =
    { record: "an object", array: "a list", object: "an object" }[issue.expected as string] ?? `a ${issue.expected}`;
  return `must be ${kind}, not ${got === "Set" ? "a DynamoDB set: use a list (L)" : got}`;
}

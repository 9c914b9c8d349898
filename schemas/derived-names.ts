/**
 * Names that clients make of a tenant's names, as templates: `kube-teleport-proxy-alpn.{name}` is a name below each, and
 * `{hex}.teleport.cluster.local` has the name's bytes in hexadecimal digits as one label, which may be longer than DNS allows.
 */
import * as z from "zod";

/** A template's parts: `kube-teleport-proxy-alpn.` and `name`; or `hex` and `.teleport.cluster.local`. */
export interface TemplateParts {
  before: string;
  kind: "name" | "hex";
  after: string;
}

const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const pattern = new RegExp(`^((?:${label}\\.)*)\\{(name|hex)\\}((?:\\.${label})*)$`);

/** Undefined if it is not a template. Without a domain of its own, it must end with a tenant's name. */
export function partsOfTemplate(template: string): TemplateParts | undefined {
  const [, before = "", kind, after = ""] = pattern.exec(template) ?? [];
  const isBelowName = kind === "name" && after === "" && before !== "";
  const hasDomain = after.split(".").length > 2;
  return isBelowName || hasDomain ? { before, kind: kind as TemplateParts["kind"], after } : undefined;
}

export const DerivedName = z.string().refine((template) => partsOfTemplate(template) !== undefined, {
  message: "is not a template: write it as prefix.{name}, {name}.domain.example or {hex}.domain.example",
});

/** The domain in which a template's names lie, when they lie outside the tenants' own. */
export function domainOfTemplate(template: string): string | undefined {
  const { after = "" } = partsOfTemplate(template) ?? {};
  return after === "" ? undefined : after.slice(1);
}

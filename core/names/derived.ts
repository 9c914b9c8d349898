/**
 * Names that clients make of a tenant's names (`schemas/derived-names.ts`). They lead where the name leads, without a claim or
 * a route of their own: a derived name lies below the name that it stands for, which its tenant owns to the bottom, or in a
 * domain of the platform, where each name has another one.
 */
import { partsOfTemplate } from "../../schemas/derived-names.ts";
import { tenantLimits } from "../../schemas/limits.ts";

/** What clients derive from a name, in the order of the templates. Those that are longer than a name can be are left out. */
export const derivedOf = (name: string, templates: string[]): string[] =>
  templates.flatMap((template) => {
    const parts = partsOfTemplate(template);
    if (parts === undefined) return [];
    const middle = parts.kind === "hex" ? Buffer.from(name).toString("hex") : name;
    const derived = `${parts.before}${middle}${parts.after}`;
    return derived.length > tenantLimits.nameCharactersMax ? [] : [derived];
  });

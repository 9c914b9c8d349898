/** The DNS, as everybody sees it. */
import { Resolver } from "node:dns/promises";
import { proofLimits } from "../schemas/limits.ts";

/** Answers that mean: there is no such record. Whatever else fails says nothing. */
const none = new Set(["ENOTFOUND", "ENODATA"]);

const resolver = new Resolver({ timeout: proofLimits.answerMs, tries: 1 });
/** Name servers as `address:port`, separated by commas, in place of the system's. */
const servers = process.env.LANDFALL_DNS_SERVERS;
if (servers !== undefined) resolver.setServers(servers.split(","));

/** The texts of a name's TXT records, each in one piece. */
export async function readTexts(name: string): Promise<string[]> {
  try {
    return (await resolver.resolveTxt(name)).map((parts) => parts.join(""));
  } catch (error) {
    if (none.has((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

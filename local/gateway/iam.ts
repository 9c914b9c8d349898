/** Identity policies, as far as Landfall uses them: Effect, Action and Resource with wildcards. The rest is refused. */
import { AwsError } from "./service.ts";

interface Statement {
  Effect: "Allow" | "Deny";
  Action: string | string[];
  Resource: string | string[];
}

const asList = (value: string | string[]) => (Array.isArray(value) ? value : [value]);
const patterns = new Map<string, RegExp>();

function matches(pattern: string, text: string): boolean {
  let regexp = patterns.get(pattern);
  if (regexp === undefined) {
    const source = pattern
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*/g, ".*")
      .replace(/\?/g, ".");
    regexp = new RegExp(`^${source}$`, "i");
    patterns.set(pattern, regexp);
  }
  return regexp.test(text);
}

/** AWS allows this action for every valid key. */
const unguarded = "sts:GetCallerIdentity";

/** The key of the person at this machine. It allows every action. */
export const administrator = { accessKeyId: "landfall", secretAccessKey: "landfall" };

export class Iam {
  readonly #statements = new Map<string, Statement[]>();
  readonly #callers = new Map<string, string>();

  /** Registers the caller of a key: a role's ARN, or the root's ARN for the administrator. */
  addKey(accessKey: string, arn: string): void {
    this.#callers.set(accessKey, arn);
  }

  addPolicy(roleArn: string, document: string): void {
    const { Statement } = JSON.parse(document) as { Statement: Statement[] };
    const odd = Statement.flatMap((statement) => Object.keys(statement)).find(
      (key) => !["Effect", "Action", "Resource", "Sid"].includes(key),
    );
    if (odd !== undefined) throw new Error(`a policy of ${roleArn} uses ${odd}, which is not implemented here`);
    this.#statements.set(roleArn, [...(this.#statements.get(roleArn) ?? []), ...Statement]);
  }

  callerOf(accessKey: string): string {
    const arn = this.#callers.get(accessKey);
    if (arn === undefined)
      throw new AwsError("UnrecognizedClientException", "The security token included in the request is invalid.", 403);
    return arn;
  }

  /** @throws AccessDeniedException, with AWS's message, unless every resource is allowed */
  check(caller: string, action: string, resources: string[]): void {
    if (caller.endsWith(":root") || action === unguarded) return;
    const statements = this.#statements.get(caller) ?? [];
    for (const resource of resources) {
      const fits = statements.filter(
        (statement) =>
          asList(statement.Action).some((pattern) => matches(pattern, action)) &&
          asList(statement.Resource).some((pattern) => matches(pattern, resource)),
      );
      if (!fits.some(({ Effect }) => Effect === "Allow") || fits.some(({ Effect }) => Effect === "Deny"))
        throw new AwsError(
          "AccessDeniedException",
          `User: ${caller} is not authorized to perform: ${action} on resource: ${resource} because no identity-based policy allows the ${action} action`,
          403,
        );
    }
  }
}

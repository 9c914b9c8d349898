/**
 * IAM: who a caller is, and what identity, resource, key and trust policies allow it (IAM user guide, "Policy evaluation
 * logic"). Organizations, permissions boundaries and session policies are not modelled.
 */
import { createHash } from "node:crypto";
import { AwsError } from "../gateway/error.ts";
import type { Context } from "./conditions.ts";
import { askIdentity, askResource, type Policy, type Principal, parsePolicy, type Question } from "./policy.ts";

export type { Principal } from "./policy.ts";

/** AWS allows it to everybody with a valid key. */
const unguarded = "sts:GetCallerIdentity";

/** The key of the person at this machine, who may do everything. */
export const administrator = { accessKeyId: "landfall", secretAccessKey: "landfall" };

/** A caller: a session of a role, or the account's root. */
export interface Caller extends Principal {
  arn: string;
  /** `aws:userid`: `<role id>:<session>` for a role; the account for its root. */
  userId: string;
}

/** Answers of services to a denied call differ in code and status. */
const denials: Record<string, [code: string, status: number]> = {
  s3: ["AccessDenied", 403],
  ec2: ["UnauthorizedOperation", 403],
  sts: ["AccessDenied", 403],
  autoscaling: ["AccessDenied", 403],
  lambda: ["AccessDeniedException", 403],
  scheduler: ["AccessDeniedException", 403],
};

export class Iam {
  readonly #identity = new Map<string, Policy[]>();
  readonly #trust = new Map<string, Policy>();
  readonly #resource = new Map<string, Policy>();
  readonly #callers = new Map<string, Caller>();
  readonly account: string;

  constructor(account: string) {
    this.account = account;
  }

  get root(): Caller {
    const { account } = this;
    return { arn: `arn:aws:iam::${account}:root`, account, userId: account };
  }

  addKey(accessKey: string, caller: Caller): void {
    this.#callers.set(accessKey, caller);
  }

  addRole(arn: string, trustPolicy: string): void {
    this.#trust.set(arn, parsePolicy(trustPolicy, `${arn} (trust)`));
  }

  addPolicy(roleArn: string, document: string): void {
    this.#identity.set(roleArn, [...(this.#identity.get(roleArn) ?? []), parsePolicy(document, roleArn)]);
  }

  /** The policy of a bucket, a key, a bus or a function; it adds to the one that is there. */
  addResourcePolicy(arn: string, document: string): void {
    const { statements } = parsePolicy(document, arn);
    this.#resource.set(arn, { statements: [...(this.#resource.get(arn)?.statements ?? []), ...statements] });
  }

  callerOf(accessKey: string): Caller {
    const caller = this.#callers.get(accessKey);
    if (caller === undefined)
      throw new AwsError("UnrecognizedClientException", "The security token included in the request is invalid.", 403);
    return caller;
  }

  /** The unique id that AWS gives a role. */
  roleId(roleArn: string): string {
    return `AROA${createHash("sha256").update(roleArn).digest("hex").slice(0, 17).toUpperCase()}`;
  }

  /**
   * The session that a service gets when it assumes a role.
   * @throws AwsError AccessDenied when the role's trust policy does not allow it
   */
  assume(roleArn: string, service: string, session: string): Caller {
    const { account } = this;
    const trust = this.#trust.get(roleArn);
    const context = { "aws:SourceAccount": account, "aws:PrincipalServiceName": service };
    const question: Question = {
      principal: { account, service },
      action: "sts:AssumeRole",
      resource: roleArn,
      context,
    };
    const { allowed = false, denied = false } = trust === undefined ? {} : askResource(trust, question);
    if (!allowed || denied)
      throw new AwsError(
        "AccessDenied",
        `User: ${service} is not authorized to perform: sts:AssumeRole on resource: ${roleArn} because no role trust policy allows the sts:AssumeRole action`,
        403,
      );
    const name = roleArn.slice(roleArn.lastIndexOf("/") + 1);
    return {
      arn: `arn:aws:sts::${account}:assumed-role/${name}/${session}`,
      roleArn,
      account,
      userId: `${this.roleId(roleArn)}:${session}`,
    };
  }

  /**
   * `context` are the service's own condition keys of the call.
   * @throws AwsError in the service's and AWS's words, unless every resource is allowed
   */
  check(caller: Caller, action: string, resources: string[], context: Context = {}): void {
    if (caller.roleArn === undefined || action === unguarded) return; // root
    const known: Context = {
      "aws:PrincipalArn": caller.roleArn,
      "aws:PrincipalAccount": caller.account,
      "aws:userid": caller.userId,
      "aws:SecureTransport": "true", // here it is plain HTTP on loopback
      "aws:CurrentTime": new Date().toISOString(),
      ...context,
    };
    for (const resource of resources) {
      const why = this.#denial({ principal: caller, action, resource, context: known });
      if (why !== undefined) throw denied(`User: ${caller.arn}`, action, resource, why);
    }
  }

  /**
   * A call by a service itself, such as EventBridge that invokes a function: only the resource's policy counts.
   * @throws AwsError when it does not allow the call
   */
  checkService(service: string, action: string, resource: string, sourceArn: string): void {
    const { account } = this;
    const context = { "aws:SourceArn": sourceArn, "aws:SourceAccount": account };
    const policy = this.#resource.get(resource);
    const question = { principal: { account, service }, action, resource, context };
    const verdict = policy === undefined ? undefined : askResource(policy, question);
    if (verdict?.allowed !== true || verdict.denied)
      throw denied(service, action, resource, `because no resource-based policy allows the ${action} action`);
  }

  /** Why a call is denied, in AWS's words; undefined when it is allowed. */
  #denial(question: Question): string | undefined {
    const { action, resource, principal } = question;
    const identity = askIdentity(this.#identity.get(principal.roleArn!) ?? [], question);
    const policy =
      this.#resource.get(resource) ?? this.#resource.get(resource.replace(/^(arn:aws:s3:::[^/]+)\/.*$/, "$1"));
    const own = policy === undefined ? undefined : askResource(policy, question);
    if (identity.denied) return "with an explicit deny in an identity-based policy";
    if (own?.denied) return "with an explicit deny in a resource-based policy";
    const unheard = `because no identity-based policy allows the ${action} action`;
    // A key decides by its own policy; without one, AWS's default gives the decision to the account's identity policies.
    if (action.startsWith("kms:") && own !== undefined && !own.allowed && !own.delegated)
      return `because no resource-based policy allows the ${action} action`;
    return identity.allowed || own?.allowed ? undefined : unheard;
  }
}

function denied(who: string, action: string, resource: string, why: string): AwsError {
  const service = action.slice(0, action.indexOf(":"));
  const [code, status] = denials[service] ?? ["AccessDeniedException", 400];
  const shown = service === "s3" ? `"${resource}"` : resource;
  return new AwsError(code, `${who} is not authorized to perform: ${action} on resource: ${shown} ${why}`, status);
}

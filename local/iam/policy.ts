/** One policy document: which of its statements apply to a request. What is not implemented here is refused, not ignored. */
import { type ConditionBlock, type Context, conditionsHold, substitute, unknownOperator } from "./conditions.ts";
import { wildcardMatches } from "./wildcard.ts";

type Texts = string | string[];

interface Statement {
  Sid?: string;
  Effect: "Allow" | "Deny";
  Action?: Texts;
  NotAction?: Texts;
  Resource?: Texts;
  NotResource?: Texts;
  Principal?: "*" | Record<string, Texts>;
  Condition?: ConditionBlock;
}

export interface Policy {
  statements: Statement[];
}

/** Who asks: a session of a role, a service, or the account's root. */
export interface Principal {
  /** `arn:aws:sts::…:assumed-role/<role>/<session>`; the root's ARN; absent for a service. */
  arn?: string;
  roleArn?: string;
  account: string;
  /** `states.amazonaws.com` */
  service?: string;
}

export interface Question {
  principal: Principal;
  action: string;
  resource: string;
  context: Context;
}

const members = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition"];

/** @throws Error that says what of the document is wrong, or not implemented here */
export function parsePolicy(text: string, of: string): Policy {
  const { Statement: all = [] } = JSON.parse(text) as { Statement?: Statement | Statement[] };
  const statements = [all].flat();
  for (const statement of statements) {
    const unsupported = Object.keys(statement).find((key) => !members.includes(key));
    if (unsupported !== undefined)
      throw new Error(`a policy of ${of} uses ${unsupported}, which is not implemented here`);
    if (statement.Effect !== "Allow" && statement.Effect !== "Deny")
      throw new Error(`a policy of ${of} has the effect ${String(statement.Effect)}`);
    const operator = unknownOperator(statement.Condition ?? {});
    if (operator !== undefined)
      throw new Error(`a policy of ${of} uses the operator ${operator}, which is not implemented here`);
  }
  return { statements };
}

const list = (value: Texts | undefined) => (value === undefined ? [] : [value].flat());

function fitsAction({ Action, NotAction }: Statement, action: string): boolean {
  const named = (patterns: string[]) => patterns.some((pattern) => wildcardMatches(pattern, action, undefined, true));
  return NotAction === undefined ? named(list(Action)) : !named(list(NotAction));
}

function fitsResource({ Resource, NotResource }: Statement, resource: string, context: Context): boolean {
  const named = (patterns: string[]) =>
    patterns.some((pattern) => {
      const filled = substitute(pattern, context);
      return filled !== undefined && wildcardMatches(filled.text, resource, filled.isLiteral);
    });
  if (Resource === undefined && NotResource === undefined) return true; // a trust policy
  return NotResource === undefined ? named(list(Resource)) : !named(list(NotResource));
}

/** How a principal is named: by itself, or as part of its account, which then decides by its identity policies. */
function fitsPrincipal({ Principal }: Statement, principal: Principal): "itself" | "account" | undefined {
  if (Principal === undefined) return undefined;
  if (Principal === "*") return "itself";
  if (list(Principal.Service).includes(principal.service ?? "")) return "itself";
  const named = list(Principal.AWS);
  if (named.includes("*")) return "itself";
  if ([principal.arn, principal.roleArn].some((arn) => arn !== undefined && named.includes(arn))) return "itself";
  const root = `arn:aws:iam::${principal.account}:root`;
  if (principal.arn !== undefined && (named.includes(root) || named.includes(principal.account))) return "account";
  return undefined;
}

export interface Verdict {
  allowed: boolean;
  denied: boolean;
  /** A resource policy leaves it to the account's identity policies. */
  delegated: boolean;
}

/** What policies of an identity say. */
export function askIdentity(policies: Policy[], { action, resource, context }: Question): Verdict {
  const fits = policies
    .flatMap(({ statements }) => statements)
    .filter(
      (statement) =>
        fitsAction(statement, action) &&
        fitsResource(statement, resource, context) &&
        conditionsHold(statement.Condition ?? {}, context),
    );
  return {
    allowed: fits.some(({ Effect }) => Effect === "Allow"),
    denied: fits.some(({ Effect }) => Effect === "Deny"),
    delegated: false,
  };
}

/** What the policy of a resource says: a bucket's, a key's, a function's, or a role's trust policy. */
export function askResource({ statements }: Policy, { principal, action, resource, context }: Question): Verdict {
  const verdict: Verdict = { allowed: false, denied: false, delegated: false };
  for (const statement of statements) {
    const named = fitsPrincipal(statement, principal);
    const fits =
      named !== undefined &&
      fitsAction(statement, action) &&
      fitsResource(statement, resource, context) &&
      conditionsHold(statement.Condition ?? {}, context);
    if (!fits) continue;
    if (statement.Effect === "Deny") verdict.denied = true;
    else if (named === "itself") verdict.allowed = true;
    else verdict.delegated = true;
  }
  return verdict;
}

/**
 * Names that an expression uses, read from JSONata's own syntax tree: AWS refuses some of them when a machine is made
 * (Step Functions developer guide, "Transforming data with JSONata").
 */
import type { ExprNode } from "jsonata";

/** The published types lack some kinds of nodes. */
type Node = Record<string, unknown> & { type: string };

/** What of an expression AWS refuses at creation, in AWS's words where they are known. */
export function refusedNames(root: ExprNode, { isCatcher }: { isCatcher: boolean }): string[] {
  const faults = new Set<string>();
  const topLevel = (name: string) => faults.add(`Reference to '${name}' at the top level is not supported.`);
  visit(root as object as Node, true, (node, isTop, parent) => {
    if (node.type === "variable") {
      if (node.value === "$") faults.add("Reference to '$$' is not supported.");
      if (node.value === "" && isTop) topLevel("$");
      if (node.value === "eval") faults.add("$eval is not supported: use $parse.");
    }
    if (node.type === "name" && isTop && isFirstStep(node, parent)) topLevel(String(node.value));
    if (node.type === "path" && !isCatcher && isErrorOutput(node))
      faults.add("$states.errorOutput is available in the Output and Assign of a Catch only.");
  });
  return [...faults];
}

/** The first step of a path is looked up in the input; later steps are looked up in what the step before gave. */
const isFirstStep = (node: Node, parent: Node | undefined) =>
  parent?.type !== "path" || (parent.steps as Node[] | undefined)?.[0] === node;

function isErrorOutput({ steps }: Node): boolean {
  const [first, second] = (steps ?? []) as Node[];
  return first?.type === "variable" && first.value === "states" && second?.value === "errorOutput";
}

type Visitor = (node: Node, isTop: boolean, parent: Node | undefined) => void;

/** Predicates, later steps of a path, and functions have a context of their own: what they name is not at the top level. */
function visit(node: Node, isTop: boolean, see: Visitor, parent?: Node): void {
  see(node, isTop, parent);
  const inside = (child: unknown, top: boolean) => {
    if (Array.isArray(child)) for (const item of child) inside(item, top);
    else if (child !== null && typeof child === "object" && "type" in child) visit(child as Node, top, see, node);
  };
  if (node.type === "path") {
    const steps = (node.steps ?? []) as Node[];
    steps.forEach((step, index) => inside(step, isTop && index === 0));
    inside(node.group, false);
    return;
  }
  for (const [member, child] of Object.entries(node)) {
    if (["type", "value", "position"].includes(member)) continue;
    const ownContext = ["predicate", "stages", "group", "body"].includes(member) || node.type === "lambda";
    if (member === "lhs" && node.type === "unary") {
      // an object constructor: pairs of a name and a value
      for (const pair of child as Node[][]) inside(pair, isTop);
      continue;
    }
    if (member === "group") inside((child as { lhs?: unknown }).lhs, false);
    else inside(child, isTop && !ownContext);
  }
}

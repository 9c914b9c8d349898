/** The real state machines, for functions that are named by their files. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { account } from "./services.ts";

export const machineArn = (machine: string): string => `arn:aws:states:us-west-2:${account}:stateMachine:${machine}`;

const stepflows = path.resolve(import.meta.dirname, "../../stepflows");

/** A definition, with each function's placeholder replaced by its file name. */
export function definitionOf(machine: string): string {
  const text = readFileSync(path.join(stepflows, `${machine}.asl.json`), "utf8");
  const kebab = (name: string) => name.replaceAll(/(?<=.)[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
  return text.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => kebab(name));
}

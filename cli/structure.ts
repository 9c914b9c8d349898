/** `landfall structure retry`: lets a structure that was returned be tried again. */
import pc from "picocolors";
import { UsageError } from "./connect.ts";

export async function retryStructure(name: string): Promise<void> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readCell, saveStructure } = await import("../aws/ledger/cells.ts");
  const { fleet } = await loadSettings();
  if (!fleet.cells.some((cell) => cell.name === name))
    throw new UsageError(`no cell ${name}: the fleet has ${fleet.cells.map((cell) => cell.name).join(", ")}`);
  const { structure } = await readCell(name);
  if (structure?.state.stage !== "returned") {
    const stage = structure === undefined ? "none was ever moved" : `the last one is at stage ${structure.state.stage}`;
    throw new UsageError(`cell ${name} has no structure that was returned: ${stage}`);
  }
  const { state, version } = structure;
  if (!(await saveStructure(name, { ...state, again: true }, version)))
    throw new UsageError("the structure changed meanwhile: look at `landfall status` and try again");
  const was = state.reason === undefined ? "" : `; it was returned because ${state.reason}`;
  console.log(pc.green(`structure ${state.target.slice(0, 12)} is tried again within a minute${was}`));
}

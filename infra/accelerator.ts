import type { StageFleet } from "./fleet";
import { named } from "./names";

/**
 * One accelerator and one listener per cell. The controller creates and owns the endpoint groups, not this program: on
 * any update of a group, the provider sends its own list of endpoints, or an empty one, and would detach every edge.
 */
export function accelerators(fleet: StageFleet) {
  const listeners: Record<string, aws.globalaccelerator.Listener> = {};
  for (const cell of fleet.cells) {
    const accelerator = new aws.globalaccelerator.Accelerator(
      `Accelerator-${cell.name}`,
      { name: named(cell.name), ipAddressType: "IPV4", enabled: true },
      { protect: $app.stage === "production" }, // a deleted accelerator loses its addresses for good
    );
    listeners[cell.name] = new aws.globalaccelerator.Listener(`Listener-${cell.name}`, {
      acceleratorArn: accelerator.arn,
      protocol: "TCP",
      clientAffinity: "NONE",
      portRanges: [
        { fromPort: 443, toPort: 443 },
        { fromPort: cell.portBase, toPort: cell.portBase + cell.portCount - 1 },
      ],
    });
  }
  return listeners;
}

/** Global Accelerator's quotas (developer guide, "Quotas for AWS Global Accelerator"). */
/** Endpoints that one call can name (API reference): more than the quota of a group is raised, no more fit one write. */
export const endpointsPerCall = 10;

export type Quotas = typeof defaultQuotas;
export const defaultQuotas = {
  accelerators: 20,
  listenersPerAccelerator: 10,
  groupsPerAccelerator: 42,
  portRangesPerListener: 10,
  overridesPerGroup: 10,
  endpointsPerGroup: 10,
};
export const defaultWeight = 128;

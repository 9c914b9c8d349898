/** Global Accelerator's quotas (developer guide, "Quotas for AWS Global Accelerator"). */
export const quotas = {
  accelerators: 20,
  listenersPerAccelerator: 10,
  groupsPerAccelerator: 42,
  portRangesPerListener: 10,
  overridesPerGroup: 10,
  endpointsPerGroup: 10,
};
export const defaultWeight = 128;

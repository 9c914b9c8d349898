/// <reference path="./.sst/platform/config.d.ts" />

export default $config({
  app(input) {
    return {
      name: "landfall",
      removal: input?.stage === "production" ? "retain" : "remove",
      protect: input?.stage === "production",
      home: "aws",
      providers: { aws: { region: "us-west-2" } },
    };
  },
  async run() {
    const { fleetOf } = await import("./infra/fleet");
    const { tables } = await import("./infra/tables");
    const { storage } = await import("./infra/storage");
    const { signing } = await import("./infra/signing");
    const { forwarding, homeBus, subscriptions, whoSpeaks } = await import("./infra/bus");
    const { functions } = await import("./infra/functions");
    const { machineArn, reportsStream, tenantsStream, workflows } = await import("./infra/workflows");
    const { accelerators } = await import("./infra/accelerator");
    const { settings } = await import("./infra/settings");
    const { edges } = await import("./infra/edges");
    const { agentBundle } = await import("./infra/agent");

    const root = $cli.paths.root;
    const fleet = fleetOf($app.stage);
    const { accountId } = aws.getCallerIdentityOutput();
    const { tenants, ledger, reports, rollouts } = tables();
    const { snapshots, failures } = storage(fleet, accountId);
    const { key, publicKey } = signing();
    const bus = homeBus();
    forwarding(fleet, bus);
    const rolloutMachineArn = machineArn("tenant-rollout", fleet.homeRegion, accountId);
    const listeners = accelerators(fleet);
    const fns = functions({ tenants, ledger, reports, rollouts, bus, key, snapshots, rolloutMachineArn, listeners });
    const machines = workflows(fleet, fns, root);
    tenantsStream(tenants, fns.startRollout, failures);
    reportsStream(reports, fns.recordEdgeReport, failures);
    subscriptions(bus, machines);
    whoSpeaks(bus, fleet, fns, accountId);
    const publicKeys = $resolve({ arn: key.arn, publicKey }).apply(({ arn, publicKey }) => ({ [arn]: publicKey }));
    settings(fleet, { root, listeners, snapshots, publicKeys });
    agentBundle(fleet, snapshots, root);
    edges(fleet, { root, snapshots, reports, publicKeys });
    return { tenants: tenants.name, ledger: ledger.name, bus: bus.name };
  },
});

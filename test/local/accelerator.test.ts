import {
  AddEndpointsCommand,
  CreateAcceleratorCommand,
  CreateEndpointGroupCommand,
  CreateListenerCommand,
  DeleteAcceleratorCommand,
  DeleteEndpointGroupCommand,
  DeleteListenerCommand,
  DescribeAcceleratorCommand,
  DescribeEndpointGroupCommand,
  GlobalAcceleratorClient,
  ListAcceleratorsCommand,
  ListEndpointGroupsCommand,
  RemoveEndpointsCommand,
  UpdateAcceleratorCommand,
  UpdateEndpointGroupCommand,
} from "@aws-sdk/client-global-accelerator";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { profiles } from "../../local/latency.ts";
import type { NetworkListener } from "../../local/network/messages.ts";
import { GlobalAccelerator } from "../../local/services/accelerator/accelerator.ts";
import { acceleratorService } from "../../local/services/accelerator/handlers.ts";
import { account, errorName, startGateway } from "./harness.ts";

let network: NetworkListener[] = [];
const terminated = new Set<string>();
const latency = { ...profiles.none, acceleratorDeployedMs: 0 };
const accelerator = new GlobalAccelerator({
  account,
  latency,
  addressesOf: (index) => [`127.99.1.${index + 1}`, `127.99.2.${index + 1}`],
  instanceState: (id) =>
    id.startsWith("i-") ? (id === "i-99" || terminated.has(id) ? "terminated" : "running") : undefined,
  instanceAddress: (id) => (id.startsWith("i-") ? `127.99.10.${Number(id.slice(2))}` : undefined),
  apply: async (listeners) => {
    network = listeners;
  },
  onFault: () => {},
});
let gateway: Awaited<ReturnType<typeof startGateway>>;
let client: GlobalAcceleratorClient;
let acceleratorArn: string;
let ListenerArn: string;
let EndpointGroupArn: string;
const endpoints = async () =>
  (await client.send(new DescribeEndpointGroupCommand({ EndpointGroupArn }))).EndpointGroup?.EndpointDescriptions?.map(
    ({ EndpointId, Weight }) => [EndpointId, Weight],
  );
const update = (more: object) => client.send(new UpdateEndpointGroupCommand({ EndpointGroupArn, ...more }));
const listener = (FromPort: number, ToPort: number, IdempotencyToken = `${FromPort}-${ToPort}`) =>
  client.send(
    new CreateListenerCommand({
      AcceleratorArn: acceleratorArn,
      Protocol: "TCP",
      PortRanges: [{ FromPort, ToPort }],
      IdempotencyToken,
    }),
  );

beforeAll(async () => {
  gateway = await startGateway([acceleratorService(accelerator)]);
  client = new GlobalAcceleratorClient(gateway.client());
  acceleratorArn = (await client.send(new CreateAcceleratorCommand({ Name: "a", IdempotencyToken: "a" }))).Accelerator!
    .AcceleratorArn!;
  ListenerArn = (await listener(443, 443)).Listener!.ListenerArn!;
  const group = {
    ListenerArn,
    EndpointGroupRegion: "us-west-2",
    EndpointConfigurations: [{ EndpointId: "i-1" }, { EndpointId: "i-2", Weight: 7 }],
    IdempotencyToken: "g",
  };
  EndpointGroupArn = (await client.send(new CreateEndpointGroupCommand(group))).EndpointGroup!.EndpointGroupArn!;
});
afterAll(async () => {
  client.destroy();
  await gateway.close();
});

describe("Global Accelerator", () => {
  it("is IN_PROGRESS after a write, and its data plane follows", async () => {
    latency.acceleratorDeployedMs = 60_000;
    await update({ TrafficDialPercentage: 100 });
    const { Accelerator } = await client.send(new DescribeAcceleratorCommand({ AcceleratorArn: acceleratorArn }));
    expect(Accelerator?.Status).toBe("IN_PROGRESS");
    latency.acceleratorDeployedMs = 0;
    await update({ TrafficDialPercentage: 100 });
    expect(network[0]?.groups[0]?.endpoints).toEqual([
      { id: "i-1", address: "127.99.10.1", weight: 128 },
      { id: "i-2", address: "127.99.10.2", weight: 7 },
    ]);
  });

  it("returns the same listener for the same token", async () => {
    expect((await listener(443, 443)).Listener?.ListenerArn).toBe(ListenerArn);
  });

  it("keeps scalars that are not sent, replaces lists that are, and defaults a weight to 128", async () => {
    await update({ TrafficDialPercentage: 50 });
    expect(await endpoints()).toEqual([
      ["i-1", 128],
      ["i-2", 7],
    ]);
    await update({ EndpointConfigurations: [{ EndpointId: "i-2" }] });
    expect(await endpoints()).toEqual([["i-2", 128]]);
    const { EndpointGroup } = await client.send(new DescribeEndpointGroupCommand({ EndpointGroupArn }));
    expect(EndpointGroup?.TrafficDialPercentage).toBe(50);
    await update({ EndpointConfigurations: [] });
    expect(await endpoints()).toEqual([]);
  });

  it("takes 0 as a weight", async () => {
    await update({ EndpointConfigurations: [{ EndpointId: "i-1", Weight: 0 }] });
    expect(await endpoints()).toEqual([["i-1", 0]]);
  });

  it("adds and removes endpoints one by one", async () => {
    const add = (EndpointId: string) =>
      client.send(new AddEndpointsCommand({ EndpointGroupArn, EndpointConfigurations: [{ EndpointId }] }));
    const remove = (EndpointId: string) =>
      client.send(new RemoveEndpointsCommand({ EndpointGroupArn, EndpointIdentifiers: [{ EndpointId }] }));
    await add("i-3");
    expect(await errorName(add("i-3"))).toBe("InvalidArgumentException");
    await remove("i-3");
    expect(await errorName(remove("i-3"))).toBe("none"); // the operation declares no error for an absent endpoint
  });

  it("refuses the whole write for an endpoint that does not exist or is terminated, and names it (API reference, UpdateEndpointGroup)", async () => {
    const list = (EndpointId: string) => ({ EndpointConfigurations: [{ EndpointId: "i-2" }, { EndpointId }] });
    await expect(update(list("nobody"))).rejects.toThrow(/nobody/);
    await expect(update(list("i-99"))).rejects.toThrow(/i-99 .*terminated/);
    expect(await endpoints()).toEqual([["i-1", 0]]);
  });

  it("refuses the whole list when an endpoint in it has been terminated since", async () => {
    await update({ EndpointConfigurations: [{ EndpointId: "i-1", Weight: 0 }, { EndpointId: "i-7" }] });
    terminated.add("i-7");
    await expect(update({ EndpointConfigurations: [{ EndpointId: "i-1" }, { EndpointId: "i-7" }] })).rejects.toThrow(
      /i-7/,
    );
    await update({ EndpointConfigurations: [{ EndpointId: "i-1", Weight: 0 }] });
  });

  it("adds and removes nothing while another write is being deployed (API reference, TransactionInProgressException)", async () => {
    latency.acceleratorDeployedMs = 60_000;
    await update({ TrafficDialPercentage: 50 });
    const add = new AddEndpointsCommand({ EndpointGroupArn, EndpointConfigurations: [{ EndpointId: "i-4" }] });
    const remove = new RemoveEndpointsCommand({ EndpointGroupArn, EndpointIdentifiers: [{ EndpointId: "i-1" }] });
    expect(await errorName(client.send(add))).toBe("TransactionInProgressException");
    expect(await errorName(client.send(remove))).toBe("TransactionInProgressException");
    latency.acceleratorDeployedMs = 0;
    await update({ TrafficDialPercentage: 50 }); // UpdateEndpointGroup does not declare it
  });

  it("has two static addresses (developer guide, Components)", async () => {
    const { Accelerator } = await client.send(new DescribeAcceleratorCommand({ AcceleratorArn: acceleratorArn }));
    expect(Accelerator?.IpSets?.[0]?.IpAddresses).toEqual(["127.99.1.1", "127.99.2.1"]);
    expect(network[0]?.addresses).toEqual(["127.99.1.1", "127.99.2.1"]);
  });

  it("answers in us-west-2 only (API reference, Welcome)", async () => {
    const elsewhere = new GlobalAcceleratorClient(gateway.client("admin", "eu-west-3"));
    await expect(elsewhere.send(new ListAcceleratorsCommand({}))).rejects.toThrow(/us-west-2 only/);
  });

  it("enforces its quotas and refuses what AWS refuses", async () => {
    const group = (EndpointGroupRegion: string) =>
      client.send(
        new CreateEndpointGroupCommand({ ListenerArn, EndpointGroupRegion, IdempotencyToken: EndpointGroupRegion }),
      );
    expect(await errorName(group("us-west-2"))).toBe("EndpointGroupAlreadyExistsException");
    const eleven = Array.from({ length: 11 }, (_, i) => ({ EndpointId: `i-${i + 11}` }));
    expect(await errorName(update({ EndpointConfigurations: eleven }))).toBe("InvalidArgumentException");
    await update({ EndpointConfigurations: eleven.slice(0, 10) });
    const more = new AddEndpointsCommand({ EndpointGroupArn, EndpointConfigurations: eleven.slice(10) });
    expect(await errorName(client.send(more))).toBe("LimitExceededException");
    await update({ EndpointConfigurations: [{ EndpointId: "i-1", Weight: 0 }] });
    expect(await errorName(update({ EndpointConfigurations: [{ EndpointId: "nobody" }] }))).toBe(
      "InvalidArgumentException",
    );
    expect(await errorName(update({ HealthCheckIntervalSeconds: 20 }))).toBe("InvalidArgumentException");
    expect(await errorName(update({ PortOverrides: [{ ListenerPort: 443, EndpointPort: 443 }] }))).toBe(
      "InvalidPortRangeException",
    );
    for (const bad of [
      { HealthCheckPort: 99_999 },
      { HealthCheckPath: "/a b" },
      { HealthCheckProtocol: "FOO" as never },
      { EndpointConfigurations: [{ EndpointId: "i-1" }, { EndpointId: "i-1" }] },
    ])
      expect(await errorName(update(bad))).toBe("InvalidArgumentException");
    expect(await endpoints()).toEqual([["i-1", 0]]);
    expect(await errorName(listener(600, 601, "443-443"))).toBe("InvalidArgumentException");
    expect(await errorName(listener(400, 500))).toBe("InvalidPortRangeException");
    expect(await errorName(client.send(new ListEndpointGroupsCommand({ ListenerArn: "nothing" })))).toBe(
      "ListenerNotFoundException",
    );
    expect(await errorName(client.send(new DeleteAcceleratorCommand({ AcceleratorArn: acceleratorArn })))).toBe(
      "AcceleratorNotDisabledException",
    );
  });

  it("is deleted from the inside out", async () => {
    expect(await errorName(client.send(new DeleteListenerCommand({ ListenerArn })))).toBe(
      "AssociatedEndpointGroupFoundException",
    );
    await client.send(new DeleteEndpointGroupCommand({ EndpointGroupArn }));
    await client.send(new UpdateAcceleratorCommand({ AcceleratorArn: acceleratorArn, Enabled: false }));
    expect(await errorName(client.send(new DeleteAcceleratorCommand({ AcceleratorArn: acceleratorArn })))).toBe(
      "AssociatedListenerFoundException",
    );
    await client.send(new DeleteListenerCommand({ ListenerArn }));
    await client.send(new DeleteAcceleratorCommand({ AcceleratorArn: acceleratorArn }));
    expect(await errorName(client.send(new DescribeAcceleratorCommand({ AcceleratorArn: acceleratorArn })))).toBe(
      "AcceleratorNotFoundException",
    );
  });
});

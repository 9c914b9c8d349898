/** EC2: what it knows of an edge's instance. */
import { DescribeInstancesCommand, EC2Client, TerminateInstancesCommand } from "@aws-sdk/client-ec2";
import type { Instance } from "../core/edges/identity.ts";

const clients = new Map<string, EC2Client>();
function clientIn(region: string): EC2Client {
  const client = clients.get(region) ?? new EC2Client({ region });
  clients.set(region, client);
  return client;
}

/** Undefined for an instance that never existed, or was terminated so long ago that EC2 no longer lists it. */
export async function describeInstance(region: string, instanceId: string): Promise<Instance | undefined> {
  try {
    const { Reservations = [] } = await clientIn(region).send(
      new DescribeInstancesCommand({ InstanceIds: [instanceId] }),
    );
    const [found] = Reservations.flatMap(({ Instances = [] }) => Instances);
    if (found === undefined) return undefined;
    return {
      state: found.State?.Name ?? "unknown",
      address: found.PrivateIpAddress,
      tags: Object.fromEntries((found.Tags ?? []).map(({ Key = "", Value = "" }) => [Key, Value])),
    };
  } catch (error) {
    if (error instanceof Error && /^InvalidInstanceID\./.test(error.name)) return undefined; // not found, or no id at all
    throw error;
  }
}

export async function isTerminated(region: string, instanceId: string): Promise<boolean> {
  const instance = await describeInstance(region, instanceId);
  return instance === undefined || instance.state === "terminated";
}

/** Auto Scaling replaces the instance. */
export async function terminateInstance(region: string, instanceId: string): Promise<void> {
  await clientIn(region).send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
}

/** EC2: whether an edge's instance is terminated. */
import { DescribeInstancesCommand, EC2Client } from "@aws-sdk/client-ec2";

const clients = new Map<string, EC2Client>();

/** Also true for an instance that was terminated so long ago that EC2 no longer lists it. */
export async function isTerminated(region: string, instanceId: string): Promise<boolean> {
  const client = clients.get(region) ?? new EC2Client({ region });
  clients.set(region, client);
  try {
    const { Reservations = [] } = await client.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }));
    return Reservations.flatMap(({ Instances = [] }) => Instances).every(({ State }) => State?.Name === "terminated");
  } catch (error) {
    if (error instanceof Error && error.name === "InvalidInstanceID.NotFound") return true;
    throw error;
  }
}

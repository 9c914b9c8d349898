/** The cloud's own controls, beside AWS's protocols: pods, and where everything is. */
import * as z from "zod";
import type { Endpoints } from "./endpoints.ts";
import type { WireRequest, WireResponse } from "./gateway/http.ts";
import type { Geography } from "./network/geography.ts";
import type { Network } from "./network/network.ts";

export const prefix = "/_landfall/";

export const PodRequest = z.strictObject({
  region: z.string(),
  targetHost: z.string().min(1),
  targetPort: z.number().int().min(1).max(65_535),
  /** Where the pod listens; the target's port when absent. */
  port: z.number().int().min(1).max(65_535).optional(),
  /** An address that a pod of the region has already, to give one address several ports. */
  address: z.ipv4().optional(),
});
export type PodRequest = z.infer<typeof PodRequest>;

export interface Pod {
  region: string;
  address: string;
  port: number;
  target: string;
}

interface Ports {
  geography: Geography;
  network: Network;
  pods: Pod[];
  endpoints: () => Endpoints;
}

const json = (status: number, body: object): WireResponse => ({
  status,
  headers: { "content-type": "application/json" },
  body: `${JSON.stringify(body, null, 1)}\n`,
});

export const controls =
  (ports: Ports) =>
  async (request: WireRequest): Promise<WireResponse | undefined> => {
    if (!request.path.startsWith(prefix)) return undefined;
    const asked = `${request.method} ${request.path.slice(prefix.length)}`;
    try {
      if (asked === "GET status") return json(200, { ...ports.endpoints(), pods: ports.pods });
      if (asked === "POST pods")
        return json(200, await openPod(PodRequest.parse(JSON.parse(request.body.toString())), ports));
      return json(404, { error: `there is no ${asked}` });
    } catch (error) {
      return json(400, { error: error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message });
    }
  };

/** Gives a real server an address in a region, for as long as the cloud runs. */
export async function openPod(
  request: PodRequest,
  { geography, network, pods }: Omit<Ports, "endpoints">,
): Promise<Pod> {
  const { region, targetHost, targetPort } = request;
  const used = new Set(pods.filter((pod) => pod.region === region).map((pod) => pod.address));
  const port = request.port ?? targetPort;
  const address = request.address ?? geography.podAddress(region, used.size);
  const place = geography.placeOf(address);
  if (request.address !== undefined && !used.has(address))
    throw new Error(`${address} is not a pod of ${region}: leave the address out to get a new one`);
  if (place.region !== region) throw new Error(`${address} is in ${place.region}, not in ${region}`);
  if (pods.some((pod) => pod.address === address && pod.port === port))
    throw new Error(
      `${address}:${port} is a pod already: give another --port, or leave --address out for a new address`,
    );
  await network.openPod({ address, port, targetHost, targetPort });
  const pod = { region, address, port, target: `${targetHost}:${targetPort}` };
  pods.push(pod);
  return pod;
}

/**
 * The cloud's own HTTP controls, beside AWS's protocols: opens pods, sets DNS records, impairs paths, and returns the status: all addresses,
 * the busiest partitions of the tables, and how often each fault was made.
 */
import * as z from "zod";
import { controlsPrefix, DnsRecord, type Endpoints, PathRequest, type Pod, PodRequest } from "../schemas/local.ts";
import type { Faults } from "./faults.ts";
import type { WireRequest, WireResponse } from "./gateway/http.ts";
import type { Dns } from "./network/dns.ts";
import type { Geography } from "./network/geography.ts";
import type { Network } from "./network/network.ts";
import type { PartitionUse } from "./services/dynamodb/capacity.ts";

interface Ports {
  geography: Geography;
  network: Network;
  dns: Dns;
  pods: Pod[];
  endpoints: () => Endpoints;
  /** What happened since the cloud was booted. */
  report: () => { partitions: PartitionUse[]; faults: Faults["counts"] };
}

const json = (status: number, body: object): WireResponse => ({
  status,
  headers: { "content-type": "application/json" },
  body: `${JSON.stringify(body, null, 1)}\n`,
});

export const controls =
  (ports: Ports) =>
  async (request: WireRequest): Promise<WireResponse | undefined> => {
    if (!request.path.startsWith(controlsPrefix)) return undefined;
    const asked = `${request.method} ${request.path.slice(controlsPrefix.length)}`;
    try {
      if (asked === "GET status")
        return json(200, { ...ports.endpoints(), pods: ports.pods, dns: ports.dns.records, ...ports.report() });
      if (asked === "POST pods")
        return json(200, await openPod(PodRequest.parse(JSON.parse(request.body.toString())), ports));
      if (asked === "POST dns") return json(200, ports.dns.set(DnsRecord.parse(JSON.parse(request.body.toString()))));
      if (asked === "POST network") {
        const { from, to, impairment } = PathRequest.parse(JSON.parse(request.body.toString()));
        await ports.network.impair(from, to, impairment);
        return json(200, { from, to, impairment: impairment ?? "none" });
      }
      return json(404, { error: `there is no ${asked}` });
    } catch (error) {
      return json(400, { error: error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message });
    }
  };

/** Gives a real server an address in a region, for as long as the cloud runs. */
export async function openPod(
  request: PodRequest,
  { geography, network, pods }: Pick<Ports, "geography" | "network" | "pods">,
): Promise<Pod> {
  const { region, targetHost, targetPort } = request;
  const used = new Set(pods.filter((pod) => pod.region === region).map((pod) => pod.address));
  const port = request.port ?? targetPort;
  const address = request.address ?? geography.podAddress(region, used.size);
  const place = geography.placeOf(address);
  if (request.address !== undefined && !used.has(address))
    throw new Error(`${address} is not the address of a pod in ${region}: omit it to get a new address`);
  if (place.region !== region) throw new Error(`${address} is in ${place.region}, not in ${region}`);
  if (pods.some((pod) => pod.address === address && pod.port === port))
    throw new Error(
      `${address}:${port} is already in use by a pod: pass another --port, or omit --address to get a new address`,
    );
  await network.openPod({ address, port, targetHost, targetPort });
  const pod = { region, address, port, target: `${targetHost}:${targetPort}` };
  pods.push(pod);
  return pod;
}

/** The embedded Global Accelerator in a simulation: its health checks see simulated edges, and each write keeps laws 5 and 6. */
import type { EdgeSummary } from "../../core/edges/edge.ts";
import { listenerPorts } from "../../core/failover/drift.ts";
import type { Call, Service } from "../../local/gateway/service.ts";
import { profiles } from "../../local/latency.ts";
import { GlobalAccelerator } from "../../local/services/accelerator/accelerator.ts";
import { acceleratorService } from "../../local/services/accelerator/handlers.ts";
import type { Group } from "../../local/services/accelerator/model.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import type { Instance } from "./edges.ts";
import { Breach } from "./laws.ts";

/** What a writer observed is at most this old when its write takes effect: one invocation and one request. */
const observedMs = 40_000;

interface Endpoint {
  id: string;
  region: string;
  weight: number;
  dial: number;
}

const takesUsers = ({ weight, dial }: Endpoint) => weight > 0 && dial > 0;

export class SimulatedAccelerator {
  readonly #service: Service;
  readonly #ga: GlobalAccelerator;
  readonly #instances: Instance[];
  /** When the health check last found each endpoint healthy. */
  readonly #healthyAt = new Map<string, number>();
  /** When the health check last did not reach each endpoint. */
  readonly #unreachedAt = new Map<string, number>();
  /** Instances that the ledger has shown as terminated or given up. */
  readonly #marked = new Set<string>();
  /** Edges and regions that were ever degraded. */
  readonly #accused = new Set<string>();
  /** Is called with each group of a listener after a write. */
  onWrite: (group: Group) => void = () => {};

  constructor(account: string, fleet: Fleet, instances: Instance[]) {
    this.#instances = instances;
    this.#ga = new GlobalAccelerator({
      account,
      latency: profiles.none,
      addressesOf: () => [],
      instanceAddress: () => undefined,
      instanceState: (id, region) => {
        const state = this.#find(id, region)?.state;
        return state === "shutting-down" ? "running" : state;
      },
      apply: async () => {},
      onFault: (error) => {
        throw error;
      },
    });
    for (const cell of fleet.cells) {
      const { name, listenerArn } = cell;
      const { arn } = this.#ga.createAccelerator(name, listenerArn.replace(/\/listener\/.*$/, ""));
      const portRanges = listenerPorts(cell).map(([FromPort, ToPort]) => ({ FromPort, ToPort }));
      this.#ga.createListener(arn, { protocol: "TCP", affinity: "SOURCE_IP", portRanges }, listenerArn);
    }
    this.#service = acceleratorService(this.#ga);
  }

  #find = (id: string, region: string) => this.#instances.find((one) => one.edgeId === id && one.region === region);

  groupsOf(listenerArn: string): Group[] {
    return this.#ga.groupsOf(listenerArn);
  }

  /** The health check's next look at every endpoint. */
  check(): void {
    for (const group of this.#ga.groups.values())
      for (const [id, { health }] of group.endpoints) {
        const isHealthy = this.#find(id, group.region)?.isHealthy() ?? false;
        if (isHealthy || health === "HEALTHY") this.#healthyAt.set(id, Date.now());
        if (!isHealthy || health === "UNHEALTHY") this.#unreachedAt.set(id, Date.now());
        this.#ga.setHealth(group.arn, id, isHealthy ? "HEALTHY" : "UNHEALTHY");
      }
  }

  /** A monitor has said that this edge, or this region, is degraded. */
  accuse(target: string): void {
    this.#accused.add(target);
  }

  /** Its neighbours saw that it forwards nothing. */
  seenDead(edgeId: string): void {
    this.#unreachedAt.set(edgeId, Date.now());
  }

  /** The ledger has this edge. */
  wrote({ edgeId, terminated, givenUp }: EdgeSummary): void {
    if (terminated === true || givenUp === true) this.#marked.add(edgeId);
  }

  /** @throws Breach when a write breaks a law */
  perform(operation: string, input: { ListenerArn?: string; EndpointGroupArn?: string }, call: Call): unknown {
    const listener = input.ListenerArn ?? this.#ga.groups.get(input.EndpointGroupArn ?? "")?.listenerArn ?? "";
    const before = this.#endpointsOf(listener);
    const output = this.#service.handlers[operation]!(input as never, call);
    if (/^(Create|Update)EndpointGroup$/.test(operation)) {
      for (const group of this.#ga.groupsOf(listener)) this.onWrite(group);
      this.#watch(before, listener);
    }
    return output;
  }

  #endpointsOf = (listenerArn: string): Endpoint[] =>
    this.#ga
      .groupsOf(listenerArn)
      .flatMap(({ region, dial, endpoints }) =>
        [...endpoints].map(([id, { weight }]) => ({ id, region, weight, dial })),
      );

  /** Laws 5 and 6. Health that changed since the writer looked is not held against it. */
  #watch(before: Endpoint[], listenerArn: string): void {
    const after = this.#endpointsOf(listenerArn);
    for (const { region, endpoints } of this.#ga.groupsOf(listenerArn))
      if (endpoints.size === 0) throw new Breach(`law 5: the list of ${region} is empty`);
    const wasHealthy = ({ id }: Endpoint) => Date.now() - (this.#healthyAt.get(id) ?? -Infinity) <= observedMs;
    const healthy = before.filter((endpoint) => takesUsers(endpoint) && this.#isHealthy(endpoint));
    if (healthy.length > 0 && !after.some((endpoint) => takesUsers(endpoint) && wasHealthy(endpoint)))
      throw new Breach(`law 5: ${healthy.map(({ id }) => id).join(", ")} took users, and no endpoint does now`);
    const ids = new Set(after.map(({ id }) => id));
    for (const { id, region } of before)
      if (!ids.has(id) && !this.#marked.has(id) && this.#find(id, region)?.state === "running")
        throw new Breach(`law 6: ${id} runs, and was removed`);
    const known = new Map(before.map((endpoint) => [endpoint.id, endpoint]));
    for (const { id, region, weight, dial } of after) {
      const old = known.get(id);
      const isReached = Date.now() - (this.#unreachedAt.get(id) ?? -Infinity) > observedMs;
      if (old !== undefined && weight < old.weight && isReached && !this.#accused.has(id))
        throw new Breach(`law 6: ${id} gets less weight, and nobody said that it is degraded`);
      if (old !== undefined && dial < old.dial && !this.#accused.has(region))
        throw new Breach(`law 6: ${region} gets a lower dial, and nobody said that it is degraded`);
    }
  }

  #isHealthy = ({ id, region }: Endpoint) =>
    [...this.#ga.groups.values()].some(
      (group) => group.region === region && group.endpoints.get(id)?.health === "HEALTHY",
    );
}

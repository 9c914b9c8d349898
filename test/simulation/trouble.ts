/** Carries out the happenings of a script, and ends all faults. */
import { canonicalJson } from "../../core/canonical.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { badStructure, type SimulatedEdge } from "./edges.ts";
import type { Instances } from "./instances.ts";
import type { SimulatedLambda } from "./lambda.ts";
import type { Monitors, Subject } from "./monitors.ts";
import type { PlatformTeam } from "./platform-team.ts";
import type { Schedule } from "./schedule.ts";
import type { Happening } from "./script.ts";
import { type Services, tables } from "./services.ts";
import type { Stream } from "./stream.ts";
import type { Watch } from "./watch.ts";

/** The first one is home. */
export const regions = ["us-west-2", "eu-west-3"];

export interface World {
  fleet: Fleet;
  schedule: Schedule;
  services: Services;
  lambda: SimulatedLambda;
  instances: Instances;
  watch: Watch;
  /** Of the Tenants table. */
  stream: Stream;
  monitors: Monitors;
  team: PlatformTeam;
  start: (machine: "reconcile" | "audit") => void;
}

export class Trouble {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** The happening comes at its time. */
  plan(happening: Happening): void {
    setTimeout(() => this.#happen(happening), happening.at);
    if (happening.kind === "restore") this.#world.team.backUpFor(happening);
  }

  #happen(happening: Happening): void {
    const { schedule, services, lambda, instances, stream, monitors, team, start } = this.#world;
    const { at: _, kind, ...rest } = happening;
    schedule.note(`${kind} ${canonicalJson(rest)}`);
    const until = "ms" in happening ? schedule.now + happening.ms : 0;
    const { edges } = instances;
    const edge = "edge" in happening ? edges[happening.edge % edges.length] : undefined;
    if ("edge" in happening && edge === undefined) return;
    const TableName = tables.tenants;
    switch (happening.kind) {
      case "put":
        return void services.tables.send("PutCommand", { TableName, Item: happening.record });
      case "delete":
        return void services.tables.send("DeleteCommand", { TableName, Key: { tenantId: happening.tenantId } });
      case "crash":
      case "stall":
      case "throttle-call":
        return lambda.arm(happening);
      case "throttle":
        return services.throttle(happening.service, happening.calls);
      case "freeze":
        return team.freeze(happening.ms);
      case "lose-work":
        return this.#loseWork(this.#cell(happening.cell).name);
      case "conflict":
        return services.conflict(happening.calls);
      case "partial":
        return services.readInParts(happening.calls);
      case "region-out":
        return services.takeOut(regions[happening.region]!, until);
      case "cut-off":
        edge!.cutOffUntil = until;
        if (happening.silent) edge!.unheardUntil = until;
        return;
      case "restore":
        return team.restore();
      case "alter":
        return this.#alter(happening.nth);
      case "hang":
        edge!.hungUntil = until;
        return;
      case "terminate":
        return instances.terminate(edge!);
      case "refuse":
        edge!.refusesUntil = until;
        return;
      case "degraded":
        return monitors.degrade(this.#subject(happening.region, edge!), happening.ms);
      case "structure":
        return services.wantStructure(
          this.#cell(happening.cell).name,
          happening.digit.repeat(64),
          happening.isBad ? badStructure : "{}",
        );
      case "lag":
        edge!.lagUntil = until;
        return;
      case "unheard":
        edge!.unheardUntil = until;
        return;
      case "redeliver":
        return stream.redeliver(happening.back, happening.count);
      default:
        return start(happening.kind);
    }
  }

  #cell = (number: number) => this.#world.fleet.cells[number % this.#world.fleet.cells.length]!;

  /** The edge, or a region of the first cell. */
  #subject(region: number | undefined, edge: SimulatedEdge): Subject {
    if (region === undefined) return { cell: edge.cell, region: edge.region, edgeId: edge.edgeId };
    return { cell: this.#cell(0).name, region: regions[region]!, edgeId: undefined };
  }

  /** Another program changes a route in the ledger that is published already: the gate sees a later change of it only. */
  #alter(nth: number): void {
    const served = new Set(this.#world.instances.edges.flatMap(({ routes }) => routes.map(canonicalJson)));
    const routes = this.#world.services.tables
      .all(tables.ledger)
      .filter(({ route }) => route !== undefined && served.has(canonicalJson(route)));
    const item = routes[nth % routes.length];
    if (item === undefined) return;
    const route = { ...(item.route as Route), backends: { [regions[0]!]: ["10.66.66.66:1"] } };
    this.#world.watch.altered.add(route.tenantId);
    const Item = { ...item, route };
    this.#world.services.tables.send("PutCommand", { TableName: tables.ledger, Item });
  }

  #loseWork(cell: string): void {
    for (const { pk, sk } of this.#world.services.tables.partition(tables.ledger, `DIRTY#${cell}`))
      this.#world.services.tables.send("DeleteCommand", { TableName: tables.ledger, Key: { pk, sk } });
  }

  /** Nothing fails any more. */
  end(): void {
    const { schedule, services, lambda, instances, team } = this.#world;
    schedule.note("nothing fails any more");
    lambda.heal();
    services.heal();
    team.unfreeze();
    instances.liesAndRepeats = false;
    for (const edge of instances.edges) edge.heal();
  }
}

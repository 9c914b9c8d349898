/** The edge's metrics for Prometheus. Other modules count; a scrape only reads their numbers. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Registry } from "prom-client";
import type { Agent } from "./agent.ts";
import { clock } from "./clock.ts";

/** Answers scrapes. A tenant appears after its first session that the agent knows of. */
export class Metrics {
  readonly #agent: Agent;
  readonly #registry = new Registry();
  readonly #began = clock();
  readonly #stalls = monitorEventLoopDelay({ resolution: 10 });
  /** Byte counters never decrease, although a session's final count may arrive a moment after its end. */
  readonly #most = new Map<string, { received: number; sent: number }>();
  readonly #metrics;
  #running: Promise<string> | undefined;

  constructor(agent: Agent, labels: { edge: string; region: string; cell: string }) {
    this.#agent = agent;
    this.#registry.setDefaultLabels(labels);
    this.#stalls.enable();
    const registers = [this.#registry];
    const gauge = <T extends string>(name: string, help: string, labelNames: T[] = []) =>
      new Gauge({ name: `landfall_${name}`, help, labelNames, registers });
    const counter = <T extends string>(name: string, help: string, labelNames: T[] = []) =>
      new Counter({ name: `landfall_${name}`, help, labelNames, registers });
    this.#metrics = {
      serving: gauge("serving", "1 when the health check passes"),
      draining: gauge("draining", "1 while the edge is asked to drain"),
      generation: gauge("config_generation", "Generation of the snapshot that is served"),
      configAge: gauge("config_age_seconds", "Seconds since the bucket last answered which manifest is the newest"),
      appliedAge: gauge("config_applied_seconds", "Seconds since a snapshot was last applied"),
      applyTime: gauge("config_apply_seconds", "Seconds that the last snapshot took to fetch and apply"),
      routes: gauge("route_files", "Names, wildcards and ports that are served"),
      rejected: gauge("routes_rejected", "Routes that this edge refuses"),
      connections: gauge("connections", "Open client connections"),
      capacity: gauge("sessions_capacity", "Sessions that this edge can carry, from its memory"),
      use: gauge("use_ratio", "Share that is in use of what the edge can carry, by what it is", ["of"]),
      unknown: gauge("connections_unknown", "Open connections whose tenant is not known"),
      tenantOpen: gauge("tenant_sessions", "A tenant's open sessions", ["tenant"]),
      tenantOpened: counter("tenant_sessions_total", "A tenant's sessions that were opened", ["tenant"]),
      tenantLimited: gauge("tenant_limited", "1 while a tenant, or a source of it, may open no further session", [
        "tenant",
      ]),
      tenantFailed: counter("tenant_sessions_failed_total", "Sessions that no backend accepted", ["tenant"]),
      tenantBytes: counter("tenant_bytes_total", "Bytes from clients and to them", ["tenant", "direction"]),
      refused: counter("connections_refused_total", "Connections that led nowhere, by reason", ["reason"]),
      closed: counter("sessions_closed_total", "Sessions that the edge ended", ["reason"]),
      orphans: gauge("sessions_orphaned", "Sessions whose client has gone, and that their backend keeps open"),
      backends: gauge("backends", "Backends that routes name, by health", ["health"]),
      backendDown: gauge("backend_down", "1 for each backend that is down", ["backend"]),
      checks: counter("backend_checks_total", "Checks of backends, by result", ["result"]),
      ownFaults: counter(
        "backend_own_faults_total",
        "Failed connections because this edge had no port or descriptor left",
      ),
      uptime: gauge("agent_uptime_seconds", "Seconds since the agent started"),
      stall: gauge(
        "agent_stall_seconds",
        "The longest time since the last scrape in which the agent did one thing only",
      ),
      memory: gauge("agent_resident_bytes", "The agent's resident memory"),
    };
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Runs one scrape at a time. Requests that arrive during a scrape share its result. */
  scrape(): Promise<string> {
    this.#running ??= this.#scrape().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #scrape(): Promise<string> {
    const { routes, backends, sessions, times, generation, serving } = this.#agent;
    const m = this.#metrics;
    this.#registry.resetMetrics();
    const now = clock();
    m.serving.set(serving ? 1 : 0);
    m.draining.set(sessions.drain.phase === "none" ? 0 : 1);
    m.generation.set(generation);
    if (times.heardAt > 0) m.configAge.set((now - times.heardAt) / 1000);
    if (times.appliedAt > 0) m.appliedAge.set((now - times.appliedAt) / 1000);
    m.applyTime.set(times.applyMs / 1000);
    m.routes.set(routes.files);
    m.rejected.set(routes.rejected.length);
    for (const tenant of routes.limited.keys()) m.tenantLimited.set({ tenant }, 1);
    for (const [reason, count] of Object.entries(sessions.refusals.counts)) m.refused.inc({ reason }, count);
    m.closed.inc({ reason: "removed" }, sessions.closedBy.removed);
    m.closed.inc({ reason: "drain" }, sessions.closedBy.drain);
    m.closed.inc({ reason: "orphaned" }, sessions.closedBy.orphaned);
    m.orphans.set(sessions.orphans);
    const { down } = backends;
    m.backends.set({ health: "up" }, backends.count - down.length);
    m.backends.set({ health: "down" }, down.length);
    for (const backend of down) m.backendDown.set({ backend }, 1);
    for (const [result, count] of Object.entries(backends.checks)) m.checks.inc({ result }, count);
    m.ownFaults.inc(backends.ownFaults);
    m.capacity.set(this.#agent.structure?.capacity.sessions ?? 0);
    for (const [of, share] of Object.entries(this.#agent.use)) m.use.set({ of }, share);
    m.uptime.set((now - this.#began) / 1000);
    m.stall.set(this.#stalls.max / 1e9);
    this.#stalls.reset();
    m.memory.set(process.memoryUsage.rss());
    await this.#tenants();
    return this.#registry.metrics();
  }

  async #tenants(): Promise<void> {
    const { sessions } = this.#agent;
    const m = this.#metrics;
    const live = await this.#agent.connections();
    if (live === undefined) return; // the kernel's list can't be read: report the other metrics
    m.connections.set(live.length);
    const open = new Map<string, { sessions: number; received: number; sent: number }>();
    let unknown = 0;
    for (const { key, received, sent } of live) {
      const owner = sessions.table.ownerOf(key);
      if (owner === undefined) {
        unknown++;
        continue;
      }
      const sum = open.get(owner.tenantId) ?? { sessions: 0, received: 0, sent: 0 };
      open.set(owner.tenantId, {
        sessions: sum.sessions + 1,
        received: sum.received + received,
        sent: sum.sent + sent,
      });
    }
    m.unknown.set(unknown);
    const carried = new Map(sessions.table.carried());
    for (const tenant of this.#most.keys()) if (!carried.has(tenant)) this.#most.delete(tenant);
    for (const [tenant, ended] of carried) {
      const now = open.get(tenant) ?? { sessions: 0, received: 0, sent: 0 };
      const before = this.#most.get(tenant) ?? { received: 0, sent: 0 };
      const most = {
        received: Math.max(before.received, ended.received + now.received),
        sent: Math.max(before.sent, ended.sent + now.sent),
      };
      this.#most.set(tenant, most);
      m.tenantOpen.set({ tenant }, now.sessions);
      m.tenantOpened.inc({ tenant }, ended.opened);
      m.tenantFailed.inc({ tenant }, ended.failed);
      m.tenantBytes.inc({ tenant, direction: "received" }, most.received);
      m.tenantBytes.inc({ tenant, direction: "sent" }, most.sent);
    }
  }
}

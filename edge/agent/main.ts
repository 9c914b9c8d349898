/**
 * The edge agent: four rounds a second with AWS, and four with nginx. Tends sessions once a second, and checks backends
 * when they are due.
 */
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { edgeLimits } from "../../schemas/limits.ts";
import { Agent } from "./agent.ts";
import { clock } from "./clock.ts";
import { Complaints } from "./complaints.ts";
import { Lifecycle } from "./lifecycle.ts";
import { InstanceMetadata } from "./metadata.ts";
import { Metrics } from "./metrics.ts";
import { EdgeServer } from "./server.ts";
import { readIdentity, readSettings } from "./settings.ts";

const { pollMs: roundMs, pollJitterMs: jitterMs } = edgeLimits; // jitter: agents that booted together drift apart
const tendMs = 1000;
const checkMs = 100;
const lifecycleMs = 5000;

const log = pino({ name: "landfall-agent" });
const complaints = new Complaints(log);
const settings = readSettings();
const metadata = new InstanceMetadata();
const identity = await readIdentity(metadata);
const { edgeId, listenAddress } = identity;
const onInstance = listenAddress === undefined;
const lifecycle = new Lifecycle(metadata, complaints);
const agent = new Agent({
  settings,
  identity,
  log: log.child({ edge: edgeId, region: settings.region }),
  leaving: () => lifecycle.isLeaving,
});

const stopping = new AbortController();
const stop = () => stopping.abort();
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
// If the parent process opened a channel, the agent and nginx end with the parent. systemd opens none: there, nginx
// outlives a restart of the agent.
const tied = process.connected;
process.on("disconnect", stop);

const metrics = new Metrics(agent, { edge: edgeId, region: settings.region, cell: settings.cell });
const healthy = () => agent.serving && !stopping.signal.aborted;
const server = new EdgeServer({ healthy, metrics, refusals: agent.sessions.refusals }, listenAddress, complaints);

/** Repeats `work` every `everyMs`, measured from start to start, until the agent stops. */
async function repeat(everyMs: number, spreadMs: number, work: (now: number) => Promise<void> | void): Promise<void> {
  while (!stopping.signal.aborted) {
    const started = clock();
    await work(started);
    const rest = everyMs - (clock() - started) + (Math.random() - 0.5) * 2 * spreadMs;
    await sleep(Math.max(10, rest), undefined, { signal: stopping.signal }).catch(() => {}); // a stop aborts it
  }
}

if (onInstance) await lifecycle.look(); // an instance that will be terminated accepts no users from the start
await agent.boot();
await Promise.all([
  repeat(roundMs, jitterMs, async (now) => {
    await agent.round(now);
    server.listenOn(agent.structure?.healthPort);
  }),
  repeat(roundMs, jitterMs, () => agent.look()),
  repeat(tendMs, jitterMs, (now) => agent.tend(now)),
  repeat(checkMs, 0, (now) => agent.check(now)),
  ...(onInstance ? [repeat(lifecycleMs, jitterMs, () => lifecycle.look())] : []),
]);
server.close();
if (tied) await agent.nginx.stop();
log.info("stopped");
process.exit(0);

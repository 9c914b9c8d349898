/** The edge agent: four rounds a second with AWS, and as many with nginx; sessions tended once a second, backends checked when they are due. */
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { edgeLimits } from "../../schemas/limits.ts";
import { Agent } from "./agent.ts";
import { hearFailures } from "./backends/failures.ts";
import { clock } from "./clock.ts";
import { InstanceMetadata } from "./metadata.ts";
import { Metrics } from "./metrics.ts";
import { edgeServer } from "./server.ts";
import { readIdentity, readSettings } from "./settings.ts";

const { pollMs: roundMs, pollJitterMs: jitterMs } = edgeLimits; // jitter: agents that booted together drift apart
const tendMs = 1000;
const checkMs = 100;
const lifecycleMs = 5000;

const log = pino({ name: "landfall-agent" });
const settings = readSettings();
const metadata = new InstanceMetadata();
const identity = await readIdentity(metadata);
const { edgeId, listenAddress } = identity;
const onInstance = listenAddress === undefined;
let terminating = false;
const agent = new Agent({
  settings,
  identity,
  log: log.child({ edge: edgeId, region: settings.region }),
  leaving: () => terminating,
});

const stopping = new AbortController();
const stop = () => stopping.abort();
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
// A parent that gave us a channel wants us, and nginx with us, to end when it does. systemd gives none: there, nginx
// outlives a restart of the agent.
const tied = process.connected;
process.on("disconnect", stop);

const metrics = new Metrics(agent, { edge: edgeId, region: settings.region, cell: settings.cell });
const server = edgeServer(() => agent.serving && !stopping.signal.aborted, metrics, log);

/** Does `work` over and over, `everyMs` from one beginning to the next, until the agent is to stop. */
async function repeat(everyMs: number, spreadMs: number, work: (now: number) => Promise<void> | void): Promise<void> {
  while (!stopping.signal.aborted) {
    const started = clock();
    await work(started);
    const rest = everyMs - (clock() - started) + (Math.random() - 0.5) * 2 * spreadMs;
    await sleep(Math.max(10, rest), undefined, { signal: stopping.signal }).catch(() => {}); // cut short by the end
  }
}

let listening: number | undefined;
let deaf: (() => void) | undefined;
function listen(): void {
  const port = agent.structure?.healthPort;
  if (port === undefined) return;
  if (port !== listening) {
    if (server.listening) server.close();
    deaf?.();
    deaf = undefined;
    listening = port;
  }
  if (!server.listening) server.listen(port, listenAddress);
  const failed = (error: Error) => {
    log.error({ err: error }, "can't hear of failed connections");
    deaf?.();
    deaf = undefined; // tried again by the next round
  };
  deaf ??= hearFailures({ address: listenAddress ?? "127.0.0.1", port }, (backend) => agent.failed(backend), failed);
}

/** Auto Scaling says in the metadata what is to become of the instance: no call to AWS is needed to learn it. */
async function watchLifecycle(): Promise<void> {
  try {
    terminating = (await metadata.get("autoscaling/target-lifecycle-state")) === "Terminated";
  } catch (error) {
    log.warn({ err: error }, "the instance metadata does not answer");
  }
}

if (onInstance) await watchLifecycle(); // one that is to be terminated takes nobody, from the start
await agent.boot();
await Promise.all([
  repeat(roundMs, jitterMs, async (now) => {
    await agent.round(now);
    listen();
  }),
  repeat(roundMs, jitterMs, () => agent.look()),
  repeat(tendMs, jitterMs, (now) => agent.tend(now)),
  repeat(checkMs, 0, (now) => agent.check(now)),
  ...(onInstance ? [repeat(lifecycleMs, jitterMs, watchLifecycle)] : []),
]);
server.close();
deaf?.();
if (tied) await agent.nginx.stop();
log.info("stopped");
process.exit(0);

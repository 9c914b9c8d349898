/** The edge agent: four rounds a second, and the accelerator's health check answered. */
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { Agent } from "./agent.ts";
import { readIdentity, readSettings } from "./settings.ts";

const roundMs = 250;
/** Rounds of a fleet that booted together drift apart. */
const jitterMs = 25;

const log = pino({ name: "landfall-agent" });
const settings = readSettings();
const identity = await readIdentity();
const agent = new Agent(settings, identity, log.child({ edge: identity.edgeId, region: settings.region }));

let stopping = false;
const stop = () => {
  stopping = true;
};
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
// A parent that gave us a channel wants us, and nginx with us, to end when it does. systemd gives none: there, nginx
// outlives a restart of the agent.
const tied = process.connected;
process.on("disconnect", stop);

const health = http.createServer((request, response) => {
  const found = request.url === "/healthz";
  const status = !found ? 404 : agent.serving && !stopping ? 200 : 503;
  response
    .writeHead(status, { "content-type": "text/plain", connection: "close" })
    .end(`${status === 200 ? "ok" : "no"}\n`);
});
health.on("error", (error) => log.error({ err: error }, "health check can't listen"));

await agent.boot();
while (!stopping) {
  const started = Date.now();
  await agent.round(started);
  if (!health.listening && agent.healthPort !== undefined) health.listen(agent.healthPort, identity.listenAddress);
  const rest = roundMs - (Date.now() - started) + (Math.random() - 0.5) * 2 * jitterMs;
  if (!stopping) await sleep(Math.max(10, rest));
}
health.close();
if (tied) await agent.nginx.stop();
log.info("stopped");
process.exit(0);

/** The edge's HTTP server on the health port: `/healthz` for the accelerator, `/metrics` for Prometheus. */
import http from "node:http";
import type { Logger } from "pino";
import type { Metrics } from "./metrics.ts";

export function edgeServer(healthy: () => boolean, metrics: Metrics, log: Logger): http.Server {
  const text = (response: http.ServerResponse, status: number, body: string, type = "text/plain") =>
    response.writeHead(status, { "content-type": type, connection: "close" }).end(body);
  const server = http.createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if (path === "/healthz") {
      const good = healthy();
      text(response, good ? 200 : 503, good ? "ok\n" : "no\n");
    } else if (path === "/metrics") {
      metrics.scrape().then(
        (body) => text(response, 200, body, metrics.contentType),
        (error) => {
          log.warn({ err: error }, "metrics could not be read");
          text(response, 500, "metrics could not be read: see the agent's log\n");
        },
      );
    } else text(response, 404, "not found: use /healthz or /metrics\n");
  });
  server.on("error", (error) => log.error({ err: error }, "can't listen on the health port"));
  return server;
}

/**
 * The edge's HTTP server on the health port: `/healthz` for the accelerator, `/metrics` for Prometheus, `/refused` for people
 * who ask why a connection led nowhere.
 */
import http from "node:http";
import type { Complaints } from "./complaints.ts";
import type { Metrics } from "./metrics.ts";
import type { Refusals } from "./sessions/refusals.ts";

export interface EdgeState {
  healthy: () => boolean;
  metrics: Metrics;
  refusals: Refusals;
}

/** Listens where the structure says, and tries again what failed, such as a port that is still another one's. */
export class EdgeServer {
  readonly #server: http.Server;
  readonly #address: string | undefined;
  #port: number | undefined;

  constructor(state: EdgeState, address: string | undefined, complaints: Complaints) {
    this.#server = makeServer(state, complaints);
    this.#address = address;
  }

  /** To call again and again; undefined while there is no structure. */
  listenOn(port: number | undefined): void {
    if (port === undefined) return;
    if (port !== this.#port && this.#server.listening) this.#server.close();
    this.#port = port;
    if (!this.#server.listening) this.#server.listen(port, this.#address);
  }

  close(): void {
    this.#server.close();
  }
}

function makeServer({ healthy, metrics, refusals }: EdgeState, complaints: Complaints): http.Server {
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
          complaints.wrong("metrics could not be read", error);
          text(response, 500, "metrics could not be read: see the agent's log\n");
        },
      );
    } else if (path === "/refused") {
      const body = JSON.stringify({ counts: refusals.counts, last: refusals.last });
      text(response, 200, `${body}\n`, "application/json");
    } else text(response, 404, "not found: use /healthz, /metrics or /refused\n");
  });
  server.on("error", (error) => complaints.wrong("can't listen on the health port", error));
  return server;
}

/**
 * Watches other edges as their users see them: connects to their TLS port, and expects nginx's answer through the whole way that
 * a user's connection takes. An edge that accepts and forwards nothing looks well to the accelerator.
 */
import net from "node:net";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { edgeLimits } from "../../schemas/limits.ts";
import { neighboursOf, probeName } from "../../schemas/neighbours.ts";
import type { EdgePlace } from "../../schemas/snapshot.ts";
import { isOwnFault } from "./backends/connect.ts";

/** Whether an edge forwards; undefined if this edge itself could not ask. */
export type Probe = (address: string, port: number) => Promise<boolean | undefined>;

interface Watched extends EdgePlace {
  /** It answered once: one that never did may be out of reach from here. */
  reached: boolean;
  /** Questions in a row without an answer. */
  missed: number;
  asking: boolean;
}

export class Neighbours {
  readonly #self: { id: string; region: string };
  readonly #probe: Probe;
  #watched = new Map<string, Watched>();

  constructor(self: { id: string; region: string }, probe: Probe) {
    this.#self = self;
    this.#probe = probe;
  }

  /** Watches the neighbours among these from now on. What is known of those that stay is kept. */
  watch(edges: EdgePlace[]): void {
    const before = this.#watched;
    this.#watched = new Map(
      neighboursOf(this.#self, edges).map((place) => {
        const known = before.get(place.id);
        const isSame = known?.address === place.address;
        return [place.id, isSame ? known! : { ...place, reached: false, missed: 0, asking: false }];
      }),
    );
  }

  /** Asks each neighbour. Call it once a second. */
  tick(port: number): void {
    for (const one of this.#watched.values()) if (!one.asking) void this.#ask(one, port);
  }

  async #ask(one: Watched, port: number): Promise<void> {
    one.asking = true;
    const forwards = await this.#probe(one.address, port);
    one.asking = false;
    if (forwards === undefined) return;
    one.reached ||= forwards;
    one.missed = forwards ? 0 : one.missed + 1;
  }

  /** Those that answered before and do not now, in order. When nobody answers, the fault may be this edge's own. */
  get accused(): string[] {
    const reachable = [...this.#watched.values()].filter(({ reached }) => reached);
    const failing = reachable.filter(({ missed }) => missed >= edgeLimits.missedProbes);
    return failing.length === reachable.length ? [] : failing.map(({ id }) => id);
  }
}

/** A ClientHello for the name, as Node makes it. */
function helloFor(name: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const written = new Duplex({
      read() {},
      write(chunk: Buffer, _, done) {
        resolve(chunk);
        done();
      },
    });
    tls.connect({ socket: written, servername: name }).on("error", () => {});
  });
}

/** Asks from `localAddress`, as nginx connects. */
export function probeFrom(localAddress: string | undefined): Probe {
  const hello = helloFor(probeName);
  return async (host, port) => {
    const bytes = await hello;
    return new Promise((resolve) => {
      const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
      const end = (forwards: boolean | undefined) => {
        clearTimeout(late);
        if (localAddress === undefined) socket.destroy();
        else socket.resetAndDestroy(); // a closed connection would hold a port for a minute
        resolve(forwards);
      };
      const late = setTimeout(() => end(false), edgeLimits.probeMs);
      socket.once("connect", () => socket.write(bytes));
      socket.once("data", (data) => end(data.toString().startsWith("ok")));
      socket.once("end", () => end(false));
      socket.on("error", (error) => end(isOwnFault(error) ? undefined : false));
    });
  };
}

/**
 * One connection across the network. What one side does reaches the other one way later: bytes, FIN (also right after the
 * connect), RST. Each direction ends by itself, as through a router; a connection to an address that refuses is refused, and
 * nothing is kept once both sides are gone.
 */
import net from "node:net";
import { performance } from "node:perf_hooks";
import { type Way, Wire } from "./wire.ts";

export interface Ways {
  /** From the client to the server, and back. */
  there: () => Way;
  back: () => Way;
}

/** How often a cut way is tried again: as often as a kernel repeats a SYN at first. */
const cutRetryMs = 1000;

/** What a client has done while the far side was not there yet. */
class Early {
  readonly chunks: Buffer[] = [];
  end: "fin" | "rst" | undefined;
  /** The far side is there: what comes from now on is carried. */
  isOver = false;
  #bytes = 0;

  constructor(client: net.Socket) {
    client.on("data", (chunk: Buffer) => {
      if (this.isOver) return;
      this.chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes > earlyBytesMax) client.pause();
    });
    client.on("end", () => {
      if (!this.isOver) this.end = "fin";
    });
    client.on("close", () => {
      if (!client.readableEnded) this.end = "rst";
    });
  }
}

const earlyBytesMax = 1024 * 1024;

/**
 * Connects a client, whom the kernel has accepted already, with the far side. The far side sees the connection when a
 * handshake would be over, and the client's first bytes half a round trip later.
 */
export function carry(client: net.Socket, options: net.TcpNetConnectOpts, ways: Ways): void {
  const { there, back } = ways;
  const began = performance.now();
  const rtt = there().oneWayMs + back().oneWayMs;
  const early = new Early(client);
  client.on("error", () => {}); // told by close
  const open = () => {
    if (early.end === "rst") return; // it went away before its SYN arrived
    if (there().cut || back().cut) {
      setTimeout(open, cutRetryMs).unref();
      return;
    }
    const server = net.connect({ ...options, allowHalfOpen: true, noDelay: true });
    join(client, server, ways, began + rtt, early);
  };
  setTimeout(open, rtt);
}

/** Both directions of a connection whose client may have spoken and closed before. */
function join(client: net.Socket, server: net.Socket, { there, back }: Ways, notBefore: number, early: Early): void {
  const up = new Wire(client, server, there, { notBefore });
  const down = new Wire(server, client, back);
  early.isOver = true;
  for (const chunk of early.chunks) up.send(chunk);
  if (early.end === "fin") up.finish();
  client.on("data", (chunk: Buffer) => up.send(chunk));
  client.on("end", () => up.finish());
  server.on("data", (chunk: Buffer) => down.send(chunk));
  server.on("end", () => down.finish());
  if (client.isPaused()) client.resume();

  // A side that is gone without its FIN was reset, or its address refuses; one that fails after its FIN got bytes that it no
  // longer takes. Either way the other side is reset, after what was sent before.
  const follow = (side: net.Socket, outward: Wire, inward: Wire, other: net.Socket) => {
    let failed = false;
    side.on("error", () => {
      failed = true;
    });
    side.on("close", () => {
      inward.stop();
      if (failed || !side.readableEnded) outward.reset();
      else if (other.destroyed) outward.stop();
    });
  };
  follow(client, up, down, server);
  follow(server, down, up, client);
}

/** Lists this edge's client connections and ends some of them, with iproute2's `ss`: it asks the kernel by netlink. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A session's key: the client's address and port, and the edge's port that it connected to. */
export const sessionKey = (address: string, port: string | number, serverPort: string | number) =>
  `${address} ${port} ${serverPort}`;

export interface Ports {
  tls: number;
  /** First and last port of the raw slots, both included. */
  first: number;
  last: number;
}

/** A client's connection. */
export interface Live {
  key: string;
  /** Bytes from the client so far, and those of them that nginx has not read yet. */
  received: number;
  unread: number;
  /** Bytes that the client acknowledged, and those that wait for it in the kernel. */
  sent: number;
  unsent: number;
  /** The client has said that it sends no more. */
  isHalfClosed: boolean;
}

/** nginx's own connection to a backend. */
export interface Upstream {
  /** Both ends: `address:port`, as route files write them. */
  local: string;
  backend: string;
  /** Bytes from the backend, and bytes that nginx wrote to it, some of which may wait in the kernel. */
  received: number;
  written: number;
  /** How long no data has come or gone, ms. */
  quietMs: number;
  /** `closed`: nginx has said that it sends no more, and the backend has not. `stalled`: the backend does not read. */
  state: "open" | "closed" | "stalled";
}

const askMs = 20_000;
/** States after the client's FIN, and after the client acknowledged ours: the kernel counts a FIN as one byte. */
const finReceived = ["CLOSE-WAIT", "LAST-ACK", "CLOSING"];
const finAcked = ["FIN-WAIT-2"];
/** Maximum tuples in one filter: the kernel accepts at most 64 KiB. */
const tuplesMax = 200;

export class Sockets {
  readonly #address: string | undefined;
  readonly #command: string[];

  /** `address`: the one address that this edge listens on, if not all. `command` runs ss, which may end connections. */
  constructor(address: string | undefined, command: string[]) {
    this.#address = address;
    this.#command = command;
  }

  #from = (filter: string) => (this.#address === undefined ? filter : `src ${this.#address} and ${filter}`);

  /** Every client connection that nginx has open, including half-closed ones. Without `bytes` the counts are 0. */
  async live(ports: Ports, { bytes = false } = {}): Promise<Live[]> {
    const here = `( sport = :${ports.tls} or ( sport >= :${ports.first} and sport <= :${ports.last} ) )`;
    const found: Live[] = [];
    await this.#run([bytes ? "-HtneiO" : "-HtneO", this.#from(here)], (line) => {
      if (!/ ino:[1-9]/.test(line)) return; // nginx has closed it; only the kernel still waits for its last packets
      const { state, queues, local, peer, count } = parse(line);
      const [address, port] = split(peer);
      const isHalfClosed = finReceived.includes(state);
      found.push({
        key: sessionKey(address, port, split(local)[1]),
        received: bytes ? count("bytes_received") - (isHalfClosed ? 1 : 0) : 0,
        sent: bytes ? count("bytes_acked") - (finAcked.includes(state) ? 1 : 0) : 0,
        unread: queues[0],
        unsent: queues[1],
        isHalfClosed,
      });
    });
    return found;
  }

  /** nginx's connections to these backends. */
  async upstreams(backends: string[]): Promise<Upstream[]> {
    const found: Upstream[] = [];
    await this.#forEach(backends.map(toward), "-HtneiO", (line) => {
      if (!/ ino:[1-9]/.test(line)) return;
      const { state, queues, local, peer, count } = parse(line);
      const isClosed = state === "FIN-WAIT-2";
      found.push({
        local,
        backend: peer,
        received: count("bytes_received"),
        written: count("bytes_acked") + queues[1] - (isClosed ? 1 : 0),
        quietMs: Math.min(count("lastsnd"), count("lastrcv")),
        state: isClosed ? "closed" : line.includes("timer:(persist") ? "stalled" : "open",
      });
    });
    return found;
  }

  /**
   * Resets these clients' connections; nginx then closes the backends' side. Without CAP_NET_ADMIN it does nothing and
   * reports no error, so check afterwards whether they are gone.
   */
  async end(keys: string[]): Promise<void> {
    const tuples = keys.map((key) => {
      const [address = "", port = "", serverPort = ""] = key.split(" ");
      return `( ${toward(`${address.includes(":") ? `[${address}]` : address}:${port}`)} and sport = :${serverPort} )`;
    });
    await this.#forEach(tuples, "-KHtn", () => {});
  }

  /** Resets these connections to backends, likewise; nginx then closes their clients' side too. */
  async endUpstreams(upstreams: Upstream[]): Promise<void> {
    const tuples = upstreams.map(({ local, backend }) => `( ${toward(backend)} and sport = :${split(local)[1]} )`);
    await this.#forEach(tuples, "-KHtn", () => {});
  }

  async #forEach(tuples: string[], flags: string, onLine: (line: string) => void): Promise<void> {
    for (let at = 0; at < tuples.length; at += tuplesMax)
      await this.#run([flags, this.#from(`( ${tuples.slice(at, at + tuplesMax).join(" or ")} )`)], onLine);
  }

  #run(args: string[], onLine: (line: string) => void): Promise<void> {
    const [command = "ss", ...before] = this.#command;
    const child = spawn(command, [...before, ...args], { stdio: ["ignore", "pipe", "pipe"], timeout: askMs });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said = `${said}${chunk}`.slice(0, 500);
    });
    const lines = createInterface({ input: child.stdout }).on("line", onLine);
    const read = new Promise((resolve) => lines.once("close", resolve));
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) =>
        code === 0 ? void read.then(() => resolve()) : reject(new Error(`ss ended with ${code}: ${said}`)),
      );
    });
  }
}

/** Exactly what a filter of ss takes. */
export const isBackend = (text: string) => /^(?:\[[0-9a-f:.]+\]|[0-9.]+):[0-9]{1,5}$/.test(text);

/** `[::1]:80` → `::1` and `80`. */
function split(end: string): [address: string, port: string] {
  const at = end.lastIndexOf(":");
  return [end.slice(0, at).replace(/^\[|\]$/g, ""), end.slice(at + 1)];
}

const toward = (end: string) => {
  const at = end.lastIndexOf(":");
  return `( dst ${end.slice(0, at)} and dport = ${end.slice(at)} )`;
};

function parse(line: string) {
  const [state = "", unread = "", unsent = "", local = "", peer = ""] = line.split(/\s+/, 5);
  const count = (name: string) => Number(new RegExp(`\\b${name}:(\\d+)`).exec(line)?.[1] ?? 0);
  return { state, queues: [Number(unread), Number(unsent)] as const, local, peer, count };
}

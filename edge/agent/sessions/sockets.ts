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

export interface Live {
  key: string;
  /** Bytes from the client and to it so far; 0 unless `bytes` is set. */
  received: number;
  sent: number;
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

  /** Every client connection that nginx has open, including half-closed ones. */
  async live(ports: Ports, { bytes = false } = {}): Promise<Live[]> {
    const here = `( sport = :${ports.tls} or ( sport >= :${ports.first} and sport <= :${ports.last} ) )`;
    const filter = this.#address === undefined ? here : `src ${this.#address} and ${here}`;
    const found: Live[] = [];
    await this.#run([bytes ? "-HtneiO" : "-HtneO", filter], (line) => {
      if (!/ ino:[1-9]/.test(line)) return; // nginx has closed it; only the kernel still waits for its last packets
      const [state = "", , , local = "", peer = ""] = line.split(/\s+/, 5);
      const at = peer.lastIndexOf(":");
      const address = peer.slice(0, at).replace(/^\[|\]$/g, "");
      const key = sessionKey(address, peer.slice(at + 1), local.slice(local.lastIndexOf(":") + 1));
      const count = (name: string) => Number(new RegExp(`\\b${name}:(\\d+)`).exec(line)?.[1] ?? 0);
      const received = count("bytes_received") - (finReceived.includes(state) ? 1 : 0);
      const sent = count("bytes_acked") - (finAcked.includes(state) ? 1 : 0);
      found.push({ key, received: bytes ? received : 0, sent: bytes ? sent : 0 });
    });
    return found;
  }

  /**
   * Resets these clients' connections; nginx then closes the backends' side. Without CAP_NET_ADMIN it does nothing and
   * reports no error, so check afterwards whether they are gone.
   */
  async end(keys: string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += tuplesMax) {
      const tuples = keys.slice(at, at + tuplesMax).map((key) => {
        const [address = "", port = "", serverPort = ""] = key.split(" ");
        const peer = address.includes(":") ? `[${address}]` : address;
        return `( dst ${peer} and dport = :${port} and sport = :${serverPort} )`;
      });
      const any = `( ${tuples.join(" or ")} )`;
      await this.#run(["-KHtn", this.#address === undefined ? any : `src ${this.#address} and ${any}`], () => {});
    }
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

/** A user: connects from a city, and presses keys. */
import net from "node:net";
import { performance } from "node:perf_hooks";
import tls from "node:tls";

export interface Destination {
  host: string;
  port: number;
  /** The server name for TLS; raw TCP when absent. */
  servername?: string;
  ca?: string;
}

/** Says which connection failed, and why. */
export class ConnectionFailed extends Error {
  override readonly name = "ConnectionFailed";
}

const described = ({ host, port, servername }: Destination, from: string) =>
  `${from} → ${host}:${port}${servername === undefined ? "" : ` (${servername})`}`;

export class Session {
  readonly #socket: net.Socket;
  readonly #connection: string;
  #buffered = "";
  #waiting: (() => void) | undefined;
  #failure: Error | undefined;

  private constructor(socket: net.Socket, connection: string) {
    this.#socket = socket;
    this.#connection = connection;
    const wake = () => {
      this.#waiting?.();
      this.#waiting = undefined;
    };
    const fail = (error: Error) => {
      this.#failure ??= new ConnectionFailed(`${this.#connection}: ${error.message}`, { cause: error });
      wake();
    };
    socket.on("data", (chunk: Buffer) => {
      this.#buffered += chunk.toString("latin1");
      wake();
    });
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("closed by the other side")));
  }

  /** Connects from a source address. @throws ConnectionFailed also if no banner arrives in time */
  static async open(to: Destination, from: string, timeoutMs = 5000): Promise<{ session: Session; landed: string }> {
    const { host, port, servername, ca } = to;
    const plain = net.connect({ host, port, localAddress: from, noDelay: true });
    const socket =
      servername === undefined
        ? plain
        : tls.connect({ socket: plain, servername, ...(ca === undefined ? {} : { ca }) });
    const session = new Session(socket, described(to, from));
    plain.on("error", (error) => socket.destroy(error));
    const late = setTimeout(() => socket.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    try {
      return { session, landed: await session.#line() };
    } catch (error) {
      session.close();
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#buffered.indexOf("\n");
      if (end >= 0) {
        const line = this.#buffered.slice(0, end);
        this.#buffered = this.#buffered.slice(end + 1);
        return line;
      }
      await this.#more();
    }
  }

  #more(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = () => (this.#buffered === "" && this.#failure !== undefined ? reject(this.#failure) : resolve());
    });
  }

  /** Presses a key and waits for its echo, ms. */
  async key(): Promise<number> {
    this.#buffered = "";
    const began = performance.now();
    this.#socket.write("k");
    await this.#more();
    return performance.now() - began;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Presses keys. Returns the median time of an echo, ms, and the region that the session landed in. */
export async function typeKeys(to: Destination, from: string, keys = 15): Promise<{ landed: string; echoMs: number }> {
  const { session, landed } = await Session.open(to, from);
  try {
    const echoes: number[] = [];
    for (let i = 0; i < keys; i++) echoes.push(await session.key());
    echoes.sort((a, b) => a - b);
    return { landed, echoMs: echoes[Math.floor(keys / 2)]! };
  } finally {
    session.close();
  }
}

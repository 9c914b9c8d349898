/** The DNS of this machine's cloud: what was set, and nothing else. Names of the real DNS are not looked up. */
import dgram from "node:dgram";
import type { AddressInfo } from "node:net";
import { type Answer, decode, encode, RECURSION_AVAILABLE } from "dns-packet";
import type { DnsRecord } from "../../schemas/local.ts";

const ttlSeconds = 5;
const noSuchName = 3; // RFC 1035, 4.1.1: the response code

export class Dns {
  readonly #socket: dgram.Socket;
  readonly #records = new Map<string, DnsRecord>();

  private constructor(socket: dgram.Socket) {
    this.#socket = socket;
    socket.on("message", (message, from) => {
      const answer = this.#answer(message);
      if (answer !== undefined) socket.send(answer, from.port, from.address);
    });
  }

  static async start(host: string): Promise<Dns> {
    const socket = dgram.createSocket("udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(0, host, resolve);
    });
    return new Dns(socket);
  }

  get server(): string {
    const { address, port } = this.#socket.address() as AddressInfo;
    return `${address}:${port}`;
  }

  get records(): DnsRecord[] {
    return [...this.#records.values()];
  }

  /** Replaces the records of a name and type; without values there are none. */
  set({ name, type, values }: DnsRecord): DnsRecord {
    const record = { name: name.toLowerCase().replace(/\.$/, ""), type, values };
    if (values.length === 0) this.#records.delete(`${record.name} ${type}`);
    else this.#records.set(`${record.name} ${type}`, record);
    return record;
  }

  stop(): void {
    this.#socket.close();
  }

  /** Undefined for what is no question. */
  #answer(message: Buffer): Buffer | undefined {
    try {
      const { id, questions = [] } = decode(message);
      const [question] = questions;
      if (question === undefined) return undefined;
      const name = question.name.toLowerCase();
      const known = this.records.filter((record) => record.name === name);
      const answers = known
        .filter(({ type }) => type === question.type)
        .flatMap(({ type, values }) =>
          values.map((data): Answer => ({ name: question.name, type, ttl: ttlSeconds, data })),
        );
      const flags = RECURSION_AVAILABLE | (known.length === 0 ? noSuchName : 0);
      return encode({ type: "response", id: id ?? 0, flags, questions: [question], answers });
    } catch {
      return undefined; // not DNS
    }
  }
}

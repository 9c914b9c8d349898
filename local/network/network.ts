/** The network thread, from the cloud's side. */
import { Worker } from "node:worker_threads";
import type { Impairment } from "../../schemas/local.ts";
import type { FromNetwork, NetworkListener, ToNetwork } from "./messages.ts";

type Request<T = ToNetwork> = T extends ToNetwork ? Omit<T, "reply"> : never;

export class Network {
  readonly #worker: Worker;
  readonly #waiting = new Map<
    number,
    { resolve: (port: number | undefined) => void; reject: (error: Error) => void }
  >();
  #next = 0;
  onHealth: (group: string, endpoint: string, state: "HEALTHY" | "UNHEALTHY") => void = () => {};

  constructor(network: number, regions: string[], onFault: (error: unknown) => void) {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), {
      name: "network",
      workerData: { network, regions },
    });
    this.#worker.on("error", onFault);
    this.#worker.on("message", (message: FromNetwork) => {
      if (message.type === "health") return this.onHealth(message.group, message.endpoint, message.state);
      if (message.type === "fault") return onFault(new Error(message.error));
      const waiting = this.#waiting.get(message.reply);
      this.#waiting.delete(message.reply);
      if (message.error === undefined) waiting?.resolve(message.port);
      else waiting?.reject(new Error(message.error));
    });
  }

  configure = (listeners: NetworkListener[]) => this.#ask({ type: "listeners", listeners });
  openPod = (pod: { address: string; port: number; targetHost: string; targetPort: number }) =>
    this.#ask({ type: "pod", ...pod });
  impair = (from: string, to: string, impairment: Impairment | undefined) =>
    this.#ask({ type: "impair", from, to, impairment });
  closePod = (pod: { address: string; port: number }) => this.#ask({ type: "closePod", ...pod });

  #ask(message: Request): Promise<number | undefined> {
    const reply = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(reply, { resolve, reject });
      this.#worker.postMessage({ ...message, reply });
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

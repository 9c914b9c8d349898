/** Starts the processes that make load, and exchanges messages with them. */
import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import type { Attack } from "./attacker.ts";
import type { Order, Outcome } from "./client.ts";

const start = (file: string, ...args: string[]) =>
  fork(path.join(import.meta.dirname, file), args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
const told = <T>(child: ChildProcess) =>
  new Promise<T>((resolve, reject) => {
    child.once("message", (message) => resolve(message as T));
    child.once("exit", (code) => reject(new Error(`a load process ended with ${code}`)));
  });

export interface Backend {
  address: string;
  stop(): void;
}

/** Starts a backend that answers with `answer`, one byte. */
export async function startBackend(answer = "."): Promise<Backend> {
  const child = start("backend.ts", answer);
  const port = await told<number>(child);
  child.removeAllListeners("exit");
  return { address: `127.0.0.1:${port}`, stop: () => child.disconnect() };
}

export class Attacker {
  readonly #child = start("attacker.ts");

  /** Returns how many connections it holds. */
  begin(attack: Attack): Promise<number> {
    const answer = told<number>(this.#child);
    this.#child.send(attack);
    return answer;
  }

  /** Its connections end with it, at once. */
  stop(): void {
    this.#child.removeAllListeners("exit");
    this.#child.kill("SIGKILL");
  }
}

export class Client {
  readonly #child = start("client.ts");

  ask(order: Order): Promise<Outcome> {
    this.#child.removeAllListeners("exit");
    const answer = told<Outcome>(this.#child);
    this.#child.send(order);
    return answer;
  }

  stop(): void {
    this.#child.removeAllListeners("exit");
    this.#child.disconnect();
  }
}

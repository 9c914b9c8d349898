/**
 * A second engine that receives every write some time later: what an eventually consistent read may see (DynamoDB developer
 * guide, "Read consistency"). Writes are replayed in the order in which the first engine took them.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { WireRequest, WireResponse } from "../../gateway/http.ts";
import type { Engine } from "./engine.ts";

type Request = Pick<WireRequest, "headers" | "body">;

export class Replica {
  readonly #engine: Engine;
  readonly #onFault: (error: unknown) => void;
  #replayed: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(engine: Engine, onFault: (error: unknown) => void) {
    this.#engine = engine;
    this.#onFault = onFault;
  }

  read = (request: Request): Promise<WireResponse> => this.#engine.send(request);

  /** Replays a write that the first engine took, `lagMs` from now and after every earlier one. */
  replay(request: Request, lagMs: number): void {
    const due = performance.now() + lagMs;
    this.#replayed = this.#replayed.then(async () => {
      if (due > performance.now()) await sleep(due - performance.now(), undefined, { ref: false });
      if (this.#stopped) return;
      const { status, body } = await this.#engine.send(request);
      if (status !== 200) throw new Error(`a replayed write failed: ${String(body)}`);
    });
    this.#replayed = this.#replayed.catch((error) => {
      if (!this.#stopped) this.#onFault(error);
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#engine.stop();
  }
}

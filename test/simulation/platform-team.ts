/** What the platform team does: it freezes the fleet, and restores and rebuilds the ledger as docs/operations.md says. */
import { type Code, evaluate } from "./functions.ts";
import { summariesIn } from "./laws.ts";
import type { RareState } from "./reached.ts";
import type { Schedule } from "./schedule.ts";
import { type Services, tables } from "./services.ts";
import type { Tables } from "./table.ts";
import { frozenMs, type Watch } from "./watch.ts";

/** Between two attempts to rebuild. */
const againMs = 15_000;

export interface TeamPorts {
  watch: Watch;
  reached: (state: RareState) => void;
  rebuilt: () => void;
}

export class PlatformTeam {
  readonly #schedule: Schedule;
  readonly #code: Code;
  readonly #services: Services;
  readonly #ports: TeamPorts;
  #backup: ReturnType<Tables["backup"]> | undefined;
  /** From the freeze before a restore until the ledger is rebuilt. */
  #isRestoring = false;

  constructor(schedule: Schedule, code: Code, services: Services, ports: TeamPorts) {
    this.#schedule = schedule;
    this.#code = code;
    this.#services = services;
    this.#ports = ports;
  }

  freeze(ms: number): void {
    this.#freeze();
    setTimeout(() => this.unfreeze(), ms);
  }

  #freeze(): void {
    this.#services.freeze("on");
    this.#ports.watch.frozenFrom ??= this.#schedule.now;
  }

  unfreeze(): void {
    if (this.#isRestoring || this.#ports.watch.frozenFrom === undefined) return;
    const dirty = this.#services.tables.all(tables.ledger).some(({ pk }) => String(pk).startsWith("DIRTY#"));
    if (dirty) this.#ports.reached("a commit waits for the end of a freeze");
    this.#services.freeze("off");
    this.#ports.watch.frozenFrom = undefined;
  }

  /** The backup that a later `restore` returns to. */
  backUpFor({ at, backMs }: { at: number; backMs: number }): void {
    setTimeout(
      () => {
        this.#backup = this.#services.tables.backup(tables.ledger);
      },
      at + frozenMs - backMs,
    );
  }

  restore(): void {
    this.#freeze();
    this.#isRestoring = true;
    setTimeout(() => {
      this.#schedule.note("the ledger is restored");
      this.#services.tables.restore(tables.ledger, this.#backup!);
      this.#ports.watch.restored();
      setTimeout(() => this.#rebuild(), this.#schedule.random.between(5000, 60_000));
    }, frozenMs);
  }

  /** `landfall rebuild --apply`, again until it works. */
  #rebuild(): void {
    const send = (service: string, region: string, operation: string, input: object) =>
      new Promise<unknown>((resolve, reject) => {
        if (this.#schedule.over) return;
        this.#schedule.later(this.#schedule.random.below(20), () => {
          const answer = this.#services.answer(service, region, operation, input);
          if ("error" in answer) reject(answer.error);
          else resolve(answer.value);
        });
      });
    const { random } = this.#schedule;
    const command = this.#code.get("rebuild")!;
    const { rebuild } = evaluate<{ rebuild: (apply: boolean) => Promise<void> }>(command, send, random.next, 0);
    rebuild(true).then(
      () => this.#rebuilt(),
      (error: Error) => {
        this.#schedule.note(`rebuild fails: ${error.message}`);
        if (!this.#schedule.over) setTimeout(() => this.#rebuild(), againMs);
      },
    );
  }

  #rebuilt(): void {
    this.#schedule.note("the ledger is rebuilt");
    this.#ports.reached("a ledger is rebuilt");
    const edges = this.#services.tables.all(tables.ledger).filter(({ sk }) => sk === "EDGES");
    try {
      this.#ports.watch.rebuilt(edges.flatMap(summariesIn));
    } catch (error) {
      this.#schedule.fail(error);
    }
    this.#isRestoring = false;
    this.unfreeze();
    this.#ports.rebuilt();
  }
}

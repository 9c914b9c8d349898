/** Checks the health of the accelerator's endpoints, as the accelerator's own checkers do. */
import http from "node:http";
import net from "node:net";
import type { NetworkGroup } from "./messages.ts";

export type Health = "INITIAL" | "HEALTHY" | "UNHEALTHY";

/** The timeout of a check. AWS does not document it; this value is assumed. */
const answerMs = 2000;

interface Checked {
  state: Health;
  streak: number;
  timer: NodeJS.Timeout | undefined;
  /** The address and settings of the check. When they change, the check starts over. */
  what: string;
}

export class HealthChecks {
  readonly #checked = new Map<string, Checked>();
  readonly #onChange: (group: string, endpoint: string, state: "HEALTHY" | "UNHEALTHY") => void;

  constructor(onChange: (group: string, endpoint: string, state: "HEALTHY" | "UNHEALTHY") => void) {
    this.#onChange = onChange;
  }

  stateOf(group: string, endpoint: string): Health {
    return this.#checked.get(`${group} ${endpoint}`)?.state ?? "INITIAL";
  }

  /** Checks exactly these endpoints from now on. A new one is checked at once, then at its interval. */
  watch(groups: NetworkGroup[]): void {
    const wanted = new Set<string>();
    for (const group of groups)
      for (const { id, address } of group.endpoints) {
        const key = `${group.arn} ${id}`;
        const what = JSON.stringify([address, group.health]);
        wanted.add(key);
        if (this.#checked.get(key)?.what === what) continue;
        this.#forget(key);
        const checked: Checked = { state: "INITIAL", streak: 0, timer: undefined, what };
        this.#checked.set(key, checked);
        void this.#check(group, id, address, checked);
      }
    for (const key of this.#checked.keys()) if (!wanted.has(key)) this.#forget(key);
  }

  #forget(key: string): void {
    clearTimeout(this.#checked.get(key)?.timer);
    this.#checked.delete(key);
  }

  async #check(group: NetworkGroup, id: string, address: string, checked: Checked): Promise<void> {
    const { health } = group;
    const asked = async () =>
      health.protocol === "TCP"
        ? asksTcp(address, health.port ?? 443)
        : asksHttp(address, health.port ?? 80, health.path);
    const good = await asked().catch(() => false); // an endpoint that can't be reached is not healthy
    if (this.#checked.get(`${group.arn} ${id}`) !== checked) return;
    const state = good ? "HEALTHY" : "UNHEALTHY";
    checked.streak = state === checked.state ? 0 : checked.streak + 1;
    if (checked.streak >= health.threshold || (checked.state === "INITIAL" && good)) {
      checked.state = state;
      checked.streak = 0;
      this.#onChange(group.arn, id, state);
    }
    checked.timer = setTimeout(() => void this.#check(group, id, address, checked), health.intervalMs);
  }
}

const asksTcp = (address: string, port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect({ host: address, port });
    const end = (good: boolean) => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(answerMs, () => end(false));
    socket.on("connect", () => end(true));
    socket.on("error", () => end(false));
  });

const asksHttp = (address: string, port: number, path: string) =>
  new Promise<boolean>((resolve) => {
    const request = http.get({ host: address, port, path, agent: false, timeout: answerMs }, (answer) => {
      answer.resume();
      resolve((answer.statusCode ?? 500) >= 200 && (answer.statusCode ?? 500) < 400);
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", () => resolve(false));
  });

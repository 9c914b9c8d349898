/** Lambda: warm and new instances, slow calls, and instances that die in the middle of a call. */
import type { Context } from "aws-lambda";
import { acceleratorLimits, defaultFunctionSeconds, functionSeconds } from "../../schemas/limits.ts";
import { type Code, evaluate, type FunctionName, type Handler } from "./functions.ts";
import { Breach } from "./laws.ts";
import { machineArn } from "./machines.ts";
import type { Schedule } from "./schedule.ts";
import type { Happening } from "./script.ts";
import { type Answer, type Services, signingKey, tables } from "./services.ts";

/** The environment of every function. An instance reads it when its code is evaluated. */
Object.assign(process.env, {
  LANDFALL_STAGE: "simulated",
  LANDFALL_TENANTS_TABLE: tables.tenants,
  LANDFALL_LEDGER_TABLE: tables.ledger,
  LANDFALL_REPORTS_TABLE: tables.reports,
  LANDFALL_ROLLOUTS_TABLE: tables.rollouts,
  LANDFALL_BUS: "bus",
  LANDFALL_SIGNING_KEY: signingKey,
  LANDFALL_ROLLOUT_MACHINE: machineArn("tenant-rollout"),
  POWERTOOLS_LOG_LEVEL: "SILENT",
});

type Fault = Extract<Happening, { kind: "crash" | "stall" | "throttle-call" }>;

/** How far the clocks of two instances may be from the true time. */
const skewMaxMs = 5000;

interface Invocation {
  fn: FunctionName;
  over: boolean;
  fail: (error: Error) => void;
}

interface Instance {
  handler: Handler;
  invocation: { current: Invocation | undefined };
}

export class SimulatedLambda {
  readonly #schedule: Schedule;
  readonly #code: Code;
  readonly #services: Services;
  readonly #idle = new Map<FunctionName, Instance[]>();
  readonly #running = new Set<Invocation>();
  readonly #armed: Fault[] = [];
  #ids = 0;
  /** Invocations, and the calls that they made. */
  invocations = 0;
  calls = 0;
  /** Is called with the name of each failure. */
  onFailure: (fn: FunctionName, name: string) => void = () => {};

  readonly #coldShare: number;

  /** `coldShare` of the invocations begin in a new instance, even if an idle one is there. */
  constructor(schedule: Schedule, code: Code, services: Services, { coldShare = 0.05 } = {}) {
    this.#coldShare = coldShare;
    this.#schedule = schedule;
    this.#code = code;
    this.#services = services;
  }

  /** Arms the fault for a later call. */
  arm(fault: Fault): void {
    this.#armed.push({ ...fault });
  }
  heal(): void {
    this.#armed.length = 0;
  }
  /** Ends every invocation. */
  stop(): void {
    for (const invocation of this.#running) invocation.fail(new Error("the simulation is over"));
  }

  /** An invocation in a warm instance or a new one; it fails by its own error, by a crash, or by its timeout. */
  invoke(fn: FunctionName, event: unknown): Promise<unknown> {
    if (this.#schedule.over) return new Promise(() => {});
    this.invocations++;
    const idle = this.#idle.get(fn) ?? [];
    this.#idle.set(fn, idle);
    const instance = this.#schedule.random.chance(this.#coldShare)
      ? this.#instance(fn)
      : (idle.pop() ?? this.#instance(fn));
    const seconds = functionSeconds[fn] ?? defaultFunctionSeconds;
    const deadline = Date.now() + seconds * 1000;
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        if (invocation.over) return;
        invocation.over = true;
        this.#running.delete(invocation);
        clearTimeout(timer);
        settle();
      };
      const invocation: Invocation = { fn, over: false, fail: (error) => end(() => reject(error)) };
      const timer = setTimeout(() => invocation.fail(named("Sandbox.Timedout", `${fn} timed out`)), seconds * 1000);
      const done = (settle: () => void) =>
        end(() => {
          idle.push(instance);
          settle();
        });
      this.#running.add(invocation);
      instance.invocation.current = invocation;
      const context = {
        awsRequestId: `r-${++this.#ids}`,
        functionName: fn,
        getRemainingTimeInMillis: () => deadline - Date.now(),
      } as Context;
      instance.handler(structuredClone(event), context).then(
        (result) => done(() => resolve(result)),
        (error: Error) => {
          if (error instanceof TypeError || error instanceof ReferenceError) this.#schedule.fail(error);
          if (error.name === "LawBrokenError")
            this.#schedule.fail(new Breach(`law ${(error as Error & { law: number }).law}: ${error.message}`));
          this.onFailure(fn, error.name);
          this.#schedule.note(`${fn} fails: ${error.name} ${error.message.slice(0, 160)}`);
          done(() => reject(error));
        },
      );
    });
  }

  #instance(fn: FunctionName): Instance {
    const { random } = this.#schedule;
    const invocation: Instance["invocation"] = { current: undefined };
    const send = (service: string, region: string, operation: string, input: object) =>
      this.#request(invocation.current!, service, operation, () =>
        this.#services.answer(service, region, operation, input),
      );
    const skewMs = random.between(-skewMaxMs, skewMaxMs);
    const { handler } = evaluate<{ handler: Handler }>(this.#code.get(fn)!, send, random.next, skewMs);
    return { handler, invocation };
  }

  /** A call: it reaches the service some time later, takes effect, and its answer comes some time after that. */
  #request(by: Invocation, service: string, operation: string, perform: () => Answer): Promise<unknown> {
    this.calls++;
    const { random } = this.#schedule;
    return new Promise((resolve, reject) => {
      if (by.over) return; // its instance is gone
      const fault = this.#faultFor(by, operation);
      if (fault?.kind === "crash" && !fault.effect) return this.#crash(by, operation, "before");
      const delay = fault?.kind === "stall" ? fault.ms : random.chance(0.1) ? random.below(200) : 0;
      const isLate = service === "globalaccelerator" && delay > acceleratorLimits.requestMs;
      this.#schedule.later(isLate ? acceleratorLimits.requestMs : delay, () => {
        const took = fault?.kind === "throttle-call" ? failure("ThrottlingException", 400) : perform();
        const answer = isLate ? failure("TimeoutError") : took; // its client did not wait
        if (fault?.kind === "crash") return this.#crash(by, operation, "after");
        const give = () => {
          if (by.over) return;
          if ("error" in answer) reject(answer.error);
          else resolve(answer.value);
        };
        if (random.chance(0.3)) this.#schedule.later(0, give);
        else give();
      });
    });
  }

  #faultFor({ fn }: Invocation, operation: string): Fault | undefined {
    const index = this.#armed.findIndex(
      (armed) => armed.fn === fn && (armed.operation === undefined || armed.operation === operation),
    );
    const found = this.#armed[index];
    if (found === undefined || found.skip-- > 0) return undefined;
    this.#armed.splice(index, 1);
    return found;
  }

  #crash(by: Invocation, operation: string, when: string): void {
    this.onFailure(by.fn, "Lambda.Unknown");
    this.#schedule.note(`${by.fn} dies ${when} ${operation}`);
    by.fail(named("Lambda.Unknown", "the instance died"));
  }
}

const failure = (name: string, httpStatusCode?: number): Answer => {
  const error = named(name, name);
  return { error: httpStatusCode === undefined ? error : Object.assign(error, { $metadata: { httpStatusCode } }) };
};

const named = (name: string, message: string): Error => Object.assign(new Error(message), { name });

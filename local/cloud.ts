/** The embedded cloud: boots infra.lock.json on one machine and serves it through AWS's own protocols. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { TooManyRequestsException } from "@aws-sdk/client-lambda";
import { writeAtomically } from "../edge/agent/files.ts";
import { account } from "../infra/synth/mocks.ts";
import type { Endpoints, Pod } from "../schemas/local.ts";
import { bootResources } from "./boot.ts";
import { bundleAgent, bundleFunctions } from "./bundles.ts";
import type { BootContext } from "./context.ts";
import { controls } from "./controls.ts";
import { describeEndpoints } from "./endpoints.ts";
import { type FaultRates, Faults, harsh } from "./faults.ts";
import { Gateway } from "./gateway/gateway.ts";
import { administrator, Iam } from "./iam/iam.ts";
import { type ProfileName, profiles, wait } from "./latency.ts";
import { claimDir, pidFile, sweepScratch } from "./leftovers.ts";
import { readLock } from "./lock.ts";
import { Dns } from "./network/dns.ts";
import { defaultNetwork, Geography } from "./network/geography.ts";
import { Network } from "./network/network.ts";
import { GlobalAccelerator } from "./services/accelerator/accelerator.ts";
import { acceleratorService } from "./services/accelerator/handlers.ts";
import type { Quotas } from "./services/accelerator/quotas.ts";
import { Compute, instanceEvent } from "./services/compute.ts";
import { DynamoDb } from "./services/dynamodb/dynamodb.ts";
import { Events, type Via } from "./services/events/events.ts";
import { eventsService } from "./services/events/handlers.ts";
import { Kms } from "./services/kms.ts";
import type { Invocation } from "./services/lambda/function.ts";
import { Lambda } from "./services/lambda/lambda.ts";
import type { StreamMapping } from "./services/lambda/stream-mapping.ts";
import { S3 } from "./services/s3/s3.ts";
import { Scheduler } from "./services/scheduler.ts";
import { Ssm } from "./services/ssm.ts";
import { StatesError } from "./services/states/expressions.ts";
import { States } from "./services/states/states.ts";
import { sts } from "./services/sts.ts";

export interface CloudOptions {
  profile?: ProfileName;
  /** The gateway's port; 0 means any free port. */
  port?: number;
  /** The folder for logs, and for `endpoints.json` if the caller writes it. */
  dir: string;
  /** The number of edges in each group; by default the number in the lock. */
  edgesPerGroup?: number;
  /** A lock file other than the project's. */
  lockFile?: string;
  onFault?: (error: unknown, what: string) => void;
  /** Rates of faults; those that are not given are the profile's. */
  rates?: Partial<FaultRates>;
  /** Quotas of Global Accelerator that were raised. */
  acceleratorQuotas?: Partial<Quotas>;
  /** Faults of the same seed come in the same order. */
  seed?: number;
  /** Waits between the runs of a failed asynchronous invocation; AWS's one and two minutes when absent. */
  asyncRetryMs?: number[];
}

const host = "127.0.0.1";

export class Cloud {
  readonly endpoints: () => Endpoints;
  readonly context: BootContext;
  readonly pods: Pod[];
  readonly #close: (() => Promise<void> | void)[];

  private constructor(context: BootContext, endpoints: () => Endpoints, pods: Pod[], close: Cloud["close"]) {
    this.context = context;
    this.endpoints = endpoints;
    this.pods = pods;
    this.#close = close;
  }

  /** Boots everything. If a step fails, stops everything that was started. */
  static async boot(options: CloudOptions): Promise<Cloud> {
    const close: (() => Promise<void> | void)[] = [];
    try {
      return await Cloud.#boot(options, close);
    } catch (error) {
      await closeAll(close);
      throw error;
    }
  }

  static async #boot(options: CloudOptions, close: Cloud["close"]): Promise<Cloud> {
    const latency = profiles[options.profile ?? "none"];
    const faults = new Faults({ ...(latency.name === "harsh" ? harsh : {}), ...options.rates }, options.seed);
    const { dir, onFault = (error, what) => console.error(`${what}:`, error) } = options;
    close.push(claimDir(dir));
    sweepScratch();
    rmSync(path.join(dir, "logs"), { recursive: true, force: true });
    mkdirSync(path.join(dir, "logs"), { recursive: true });
    const claimed = await claimNetwork();
    close.push(claimed.release);
    const lock = readLock(claimed.network, options.lockFile);
    // nginx's workers run as another user: this folder must be readable by all; the project's folder may not be.
    const scratch = mkdtempSync(path.join(os.tmpdir(), "landfall-"));
    chmodSync(scratch, 0o755);
    writeAtomically(path.join(scratch, pidFile), String(process.pid));
    close.push(() => rmSync(scratch, { recursive: true, force: true }));
    const home = lock.all("aws:dynamodb/table:Table")[0]!.region;
    const regions = [...new Set([home, ...fleetRegions(lock)])];
    const geography = new Geography(claimed.network, regions);
    const network = new Network(claimed.network, regions, (error) => onFault(error, "network"));
    close.push(() => network.stop());

    const dns = await Dns.start(host);
    close.push(() => dns.stop());

    const iam = new Iam(account);
    iam.addKey(administrator.accessKeyId, iam.root);
    const database = await DynamoDb.start({ faults, onFault });
    close.push(() => database.stop());
    const compute = new Compute((region, id, state) =>
      events.publish(region, "default", instanceEvent({ account, region, id, state })),
    );
    const accelerator = new GlobalAccelerator({
      account,
      latency,
      addressesOf: geography.acceleratorAddresses,
      instanceAddress: (id, region) => compute.addressOf(id, region),
      faults,
      instanceState: (id, region) => compute.stateOf(id, region),
      ...(options.acceleratorQuotas === undefined ? {} : { quotas: options.acceleratorQuotas }),
      apply: (listeners) => network.configure(listeners),
      onFault,
    });
    network.onHealth = (group, endpoint, state) => accelerator.setHealth(group, endpoint, state);
    const s3 = new S3({ faults });
    const lambda = new Lambda({
      faults,
      onFault,
      asyncRetryMs: options.asyncRetryMs,
      fail: (destination, key, record) => s3.put(destination.replace("arn:aws:s3:::", ""), key, JSON.stringify(record)),
    });
    close.push(() => lambda.stop());
    const states = new States({
      account,
      transitionMs: latency.transitionMs,
      invoke: (role, name, payload) => invokeForMachine({ iam, lambda }, role, name, payload),
      onFailed: ({ identity, status, error, cause }) =>
        onFault(`${error}: ${cause?.slice(0, 500)}`, `execution ${identity.name} of ${identity.machineName} ${status}`),
    });
    close.push(() => states.stop());
    const callees = { iam, lambda, states };
    const events = new Events({
      account,
      latency,
      deliver: deliverTo(callees, "events.amazonaws.com"),
      checkForward: (busArn, { roleArn }) => {
        if (roleArn !== undefined)
          iam.check(iam.assume(roleArn, "events.amazonaws.com", "forward"), "events:PutEvents", [busArn]);
      },
      faults,
      onFault,
    });
    close.push(() => events.stop());
    const scheduler = new Scheduler({ account, deliver: deliverTo(callees, "scheduler.amazonaws.com"), onFault });
    close.push(() => scheduler.stop());
    const ssm = new Ssm(account);
    const kms = new Kms();

    const places = new Map<string, string>(); // a role's ARN → the region of its holder
    const pods: Pod[] = [];
    const gateway = new Gateway({
      account,
      iam,
      services: [
        database.service(iam, home),
        s3.service(),
        ssm.service(),
        kms.service(),
        sts,
        lambda.service(),
        eventsService(events),
        scheduler.service(),
        states.service(),
        acceleratorService(accelerator),
        compute.ec2(),
        compute.autoScaling(),
      ],
      own: controls({
        geography,
        network,
        dns,
        pods,
        endpoints: () => endpoints(),
        report: () => ({ partitions: database.capacity.busiest(), faults: faults.counts }),
      }),
      travel: async (caller, region) => {
        const from = places.get(caller.roleArn ?? "");
        if (latency.regional && from !== undefined && from !== region) await wait(geography.regionRtt(from, region));
      },
      faults,
      onFault,
    });
    const port = await gateway.listen(options.port ?? 0, host);
    close.push(() => gateway.close());
    const endpoint = `http://${host}:${port}`;

    const build = path.join(scratch, "build");
    const handlers = lock.all("aws:lambda/function:Function").map(({ handler }) => handler!);
    const agentBundle = path.join(build, "agent.mjs");
    const [bundles] = await Promise.all([
      bundleFunctions(handlers, path.join(build, "functions")),
      bundleAgent(agentBundle),
    ]);
    const mappings: StreamMapping[] = [];
    const context: BootContext = {
      lock,
      account,
      endpoint,
      scratch,
      logs: path.join(dir, "logs"),
      latency,
      faults,
      geography,
      network,
      dns,
      bundles,
      agentBundle,
      edgesPerGroup: options.edgesPerGroup,
      places,
      mappings,
      onFault,
      services: { iam, database, s3, ssm, kms, lambda, states, events, scheduler, accelerator, compute },
    };
    close.push(async () => {
      await Promise.all(mappings.map((mapping) => mapping.stop()));
    });
    close.push(async () => {
      await Promise.all(compute.edges.map((edge) => edge.stop()));
    });
    const endpoints = () => describeEndpoints(context);
    await bootResources(context);
    return new Cloud(context, endpoints, pods, close);
  }

  /** Stops everything in reverse order of start. Safe to call twice. */
  async stop(): Promise<void> {
    await closeAll(this.#close);
  }

  get close() {
    return this.#close;
  }
}

async function closeAll(close: (() => Promise<void> | void)[]): Promise<void> {
  for (let next = close.pop(); next !== undefined; next = close.pop()) {
    try {
      await next();
    } catch (error) {
      console.error("while stopping:", error);
    }
  }
}

const fleetRegions = (lock: ReturnType<typeof readLock>): string[] => {
  const fleet = lock.all("aws:ssm/parameter:Parameter").find(({ inputs }) => String(inputs.name).endsWith("/fleet"))!;
  return Object.keys((JSON.parse(String(fleet.inputs.value)) as { buckets: object }).buckets);
};

/** Claims the first loopback network that no other cloud uses: a listening socket in it is the claim. */
async function claimNetwork(): Promise<{ network: number; release: () => Promise<void> }> {
  for (let network = defaultNetwork; network < 127; network++) {
    const server = net.createServer();
    const bound = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(4565, `127.${network}.0.1`, () => resolve(true));
    });
    if (bound) return { network, release: () => new Promise((resolve) => server.close(() => resolve())) };
  }
  throw new Error("50 embedded clouds already run on this machine: stop one");
}

interface Callees {
  iam: Iam;
  lambda: Lambda;
  states: States;
}

/** Invokes a function as Step Functions does: with the machine's role, and passes on the error's own name. */
async function invokeForMachine(
  { iam, lambda }: Omit<Callees, "states">,
  role: string,
  name: string,
  payload: unknown,
): Promise<unknown> {
  const fn = lambda.find(name);
  if (fn === undefined) throw new StatesError("Lambda.ResourceNotFoundException", `Function not found: ${name}`);
  let result: Invocation;
  try {
    const caller = iam.assume(role, "states.amazonaws.com", "execution");
    iam.check(caller, "lambda:InvokeFunction", [fn.config.arn]);
    result = await lambda.invoke(name, JSON.stringify(payload));
  } catch (error) {
    const throttled = error instanceof TooManyRequestsException;
    const known = throttled ? "Lambda.TooManyRequestsException" : "Lambda.AWSLambdaException";
    throw new StatesError(known, (error as Error).message);
  }
  if (!("error" in result)) return JSON.parse(result.payload) as unknown;
  throw new StatesError(result.error.errorType, JSON.stringify(result.error));
}

/** Reaches a target as EventBridge and Scheduler do: with the target's role, or by the function's own policy. */
function deliverTo({ iam, lambda, states }: Callees, service: string) {
  return async (arn: string, input: string, { roleArn, sourceArn }: Via): Promise<void> => {
    const byRole = (action: string) => iam.check(iam.assume(roleArn!, service, "delivery"), action, [arn]);
    if (arn.includes(":stateMachine:")) {
      byRole("states:StartExecution");
      states.startExecution(arn, crypto.randomUUID(), input);
      return;
    }
    if (!arn.includes(":function:")) throw new Error(`${arn} is not a kind of target that is implemented here`);
    if (roleArn === undefined) iam.checkService(service, "lambda:InvokeFunction", arn, sourceArn);
    else byRole("lambda:InvokeFunction");
    lambda.invokeLater(arn, input);
  };
}

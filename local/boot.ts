/** Makes each resource of the lock, in the order that they need each other. */
import { createHash, randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";
import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { PortRange } from "@aws-sdk/client-global-accelerator";
import { EdgeSettings } from "../edge/agent/settings.ts";
import { settingsIn } from "../edge/user-data.ts";
import { LocalEdge } from "./edges/edge.ts";
import type { Iam } from "./gateway/iam.ts";
import type { Latency } from "./latency.ts";
import type { Lock, LockedResource } from "./lock.ts";
import type { Geography } from "./network/geography.ts";
import type { Network } from "./network/network.ts";
import type { GlobalAccelerator } from "./services/accelerator/accelerator.ts";
import type { Compute } from "./services/compute.ts";
import type { DynamoDb } from "./services/dynamodb.ts";
import type { Events } from "./services/events/events.ts";
import type { Kms } from "./services/kms.ts";
import type { Lambda } from "./services/lambda/lambda.ts";
import { StreamMapping } from "./services/lambda/stream-mapping.ts";
import type { S3 } from "./services/s3.ts";
import type { Scheduler } from "./services/scheduler.ts";
import type { Ssm } from "./services/ssm.ts";
import type { States } from "./services/states/states.ts";

export interface BootContext {
  lock: Lock;
  account: string;
  endpoint: string;
  scratch: string;
  logs: string;
  latency: Latency;
  geography: Geography;
  network: Network;
  bundles: Map<string, string>;
  agentBundle: string;
  edgesPerGroup: number | undefined;
  /** Where a role's holder is. */
  places: Map<string, string>;
  mappings: StreamMapping[];
  onFault: (error: unknown, what: string) => void;
  services: {
    iam: Iam;
    database: DynamoDb;
    s3: S3;
    ssm: Ssm;
    kms: Kms;
    lambda: Lambda;
    states: States;
    events: Events;
    scheduler: Scheduler;
    accelerator: GlobalAccelerator;
    compute: Compute;
  };
}

const text = (value: unknown) => String(value);
const optional = (value: unknown) => (value === undefined ? undefined : String(value));

export async function bootResources(context: BootContext): Promise<void> {
  const { lock, services } = context;
  bootRoles(context);
  for (const { region, name } of lock.all("aws:kms/key:Key"))
    services.kms.createKey(`arn:aws:kms:${region}:${context.account}:key/${name}`);
  await bootTables(context);
  bootBuckets(context);
  for (const { inputs, region } of lock.all("aws:ssm/parameter:Parameter"))
    services.ssm.put(region, text(inputs.name), withPublicKeys(context, text(inputs.value)));
  bootFunctions(context);
  for (const { inputs, region } of lock.all("aws:sfn/stateMachine:StateMachine"))
    services.states.createMachine(region, text(inputs.name), text(inputs.roleArn), text(inputs.definition));
  bootBuses(context);
  bootAccelerators(context);
  bootMappings(context);
  bootEdges(context);
  for (const { inputs, region } of lock.all("aws:scheduler/schedule:Schedule")) {
    const target = inputs.target as { arn: string; roleArn: string; input?: string };
    services.scheduler.create(region, text(inputs.name), text(inputs.scheduleExpression), {
      Arn: target.arn,
      RoleArn: target.roleArn,
      Input: target.input,
    });
  }
}

function bootRoles({ lock, account, services: { iam } }: BootContext): void {
  const arn = (name: string) => `arn:aws:iam::${account}:role/${name}`;
  for (const { inputs } of lock.all("aws:iam/role:Role"))
    for (const { policy } of (inputs.inlinePolicies as { policy: string }[] | undefined) ?? [])
      iam.addPolicy(arn(text(inputs.name)), policy);
  for (const { inputs } of lock.all("aws:iam/rolePolicy:RolePolicy"))
    iam.addPolicy(arn(text(inputs.role)), text(inputs.policy));
}

/** An access key that is this role, held by somebody in this region. */
function keyFor({ services: { iam }, places }: BootContext, roleArn: string, region: string): Record<string, string> {
  const accessKey = `LOCAL${randomUUID().replaceAll("-", "").slice(0, 15).toUpperCase()}`;
  iam.addKey(accessKey, roleArn);
  places.set(roleArn, region);
  return { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: randomUUID(), AWS_REGION: region };
}

async function bootTables({ lock, services: { database } }: BootContext): Promise<void> {
  const client = new DynamoDBClient({
    endpoint: database.endpoint,
    region: "us-west-2",
    credentials: { accessKeyId: "boot", secretAccessKey: "boot" },
  });
  for (const { inputs } of lock.all("aws:dynamodb/table:Table")) {
    const attributes = inputs.attributes as { name: string; type: "S" | "N" | "B" }[];
    const keys = [
      { AttributeName: text(inputs.hashKey), KeyType: "HASH" as const },
      ...(inputs.rangeKey === undefined ? [] : [{ AttributeName: text(inputs.rangeKey), KeyType: "RANGE" as const }]),
    ];
    await client.send(
      new CreateTableCommand({
        TableName: text(inputs.name),
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: attributes.map(({ name, type }) => ({ AttributeName: name, AttributeType: type })),
        KeySchema: keys,
        ...(inputs.streamEnabled === true
          ? {
              StreamSpecification: {
                StreamEnabled: true,
                StreamViewType: text(inputs.streamViewType) as "NEW_AND_OLD_IMAGES",
              },
            }
          : {}),
      }),
    );
  }
  client.destroy();
}

function bootBuckets({ lock, services: { s3 } }: BootContext): void {
  const versioned = new Set(
    lock.all("aws:s3/bucketVersioning:BucketVersioning").map(({ inputs }) => text(inputs.bucket)),
  );
  for (const { inputs, region } of lock.all("aws:s3/bucket:Bucket"))
    s3.createBucket(text(inputs.bucket), region, versioned.has(text(inputs.bucket)));
  for (const { inputs } of lock.all("aws:s3/bucketObjectv2:BucketObjectv2"))
    s3.put(text(inputs.bucket), text(inputs.key), text(inputs.content));
}

/** Puts the keys' public halves where synth could only name them. */
function withPublicKeys({ services: { kms } }: BootContext, value: string): string {
  return value.replace(/\{\{publicKey ([^}]+)\}\}/g, (_, arn: string) => kms.publicKey(arn));
}

function bootFunctions(context: BootContext): void {
  const { lock, account, endpoint, bundles, logs, latency, services } = context;
  for (const { inputs, region, handler } of lock.all("aws:lambda/function:Function")) {
    const name = text(inputs.name);
    const { variables = {} } = (inputs.environment as { variables?: Record<string, string> } | undefined) ?? {};
    services.lambda.add({
      name,
      arn: `arn:aws:lambda:${region}:${account}:function:${name}`,
      bundle: bundles.get(handler!)!,
      environment: {
        ...variables,
        ...keyFor(context, text(inputs.role), region),
        AWS_ENDPOINT_URL: endpoint,
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_CONFIG_FILE: "/dev/null",
        AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
        POWERTOOLS_DEV: "false",
      },
      timeoutSeconds: Number(inputs.timeout),
      memoryMb: Number(inputs.memorySize),
      coldStartMs: latency.coldStartMs,
      logFile: path.join(logs, `${name}.log`),
    });
  }
}

function bootBuses({ lock, services: { events } }: BootContext): void {
  for (const { inputs, region } of lock.all("aws:cloudwatch/eventBus:EventBus"))
    events.createBus(region, text(inputs.name));
  for (const { inputs, region } of lock.all("aws:cloudwatch/eventRule:EventRule"))
    events.putRule(region, optional(inputs.eventBusName) ?? "default", text(inputs.name), text(inputs.eventPattern));
  for (const { inputs, region } of lock.all("aws:cloudwatch/eventTarget:EventTarget")) {
    const retry = inputs.retryPolicy as
      | { maximumRetryAttempts?: number; maximumEventAgeInSeconds?: number }
      | undefined;
    events.putTarget(region, optional(inputs.eventBusName) ?? "default", text(inputs.rule), {
      Id: text(inputs.targetId),
      Arn: text(inputs.arn),
      RoleArn: optional(inputs.roleArn),
      ...(retry === undefined
        ? {}
        : {
            RetryPolicy: {
              MaximumRetryAttempts: retry.maximumRetryAttempts,
              MaximumEventAgeInSeconds: retry.maximumEventAgeInSeconds,
            },
          }),
    });
  }
}

function bootAccelerators({ lock, account, services: { accelerator } }: BootContext): void {
  for (const { inputs } of lock.all("aws:globalaccelerator/accelerator:Accelerator")) {
    const name = text(inputs.name);
    accelerator.createAccelerator(name, `arn:aws:globalaccelerator::${account}:accelerator/${name}`);
  }
  for (const { inputs, name } of lock.all("aws:globalaccelerator/listener:Listener")) {
    const ranges = inputs.portRanges as { fromPort: number; toPort: number }[];
    const portRanges: PortRange[] = ranges.map(({ fromPort, toPort }) => ({ FromPort: fromPort, ToPort: toPort }));
    const parent = text(inputs.acceleratorArn);
    const facts = {
      protocol: text(inputs.protocol) as "TCP",
      affinity: text(inputs.clientAffinity) as "NONE",
      portRanges,
    };
    accelerator.createListener(parent, facts, `${parent}/listener/${name.toLowerCase()}`);
  }
}

function bootMappings(context: BootContext): void {
  const { lock, services, latency, mappings, onFault } = context;
  for (const { inputs, region, name } of lock.all("aws:lambda/eventSourceMapping:EventSourceMapping")) {
    const streamArn = text(inputs.eventSourceArn);
    const table = /:table\/([^/]+)\//.exec(streamArn)?.[1] ?? "";
    const failures = (inputs.destinationConfig as { onFailure?: { destinationArn?: string } } | undefined)?.onFailure
      ?.destinationArn;
    const { filters = [] } = (inputs.filterCriteria as { filters?: { pattern: string }[] } | undefined) ?? {};
    const functionArn = text(inputs.functionName);
    const mapping = new StreamMapping(
      {
        uuid: name,
        table,
        streamArn,
        functionArn,
        region,
        batchSize: Number(inputs.batchSize),
        windowMs: Number(inputs.maximumBatchingWindowInSeconds) * 1000,
        retries: Number(inputs.maximumRetryAttempts),
        maxAgeMs: Number(inputs.maximumRecordAgeInSeconds) * 1000,
        bisect: inputs.bisectBatchOnFunctionError === true,
        reportsFailures: ((inputs.functionResponseTypes as string[] | undefined) ?? []).includes(
          "ReportBatchItemFailures",
        ),
        filters: filters.map(({ pattern }) => JSON.parse(pattern)),
        delayMs: latency.streamMs,
      },
      {
        endpoint: services.database.endpoint,
        invoke: (event) => services.lambda.invoke(functionArn, event),
        fail: (key, body) => {
          if (failures !== undefined) services.s3.put(failures.replace("arn:aws:s3:::", ""), key, body);
        },
        onFault: (error) => onFault(error, `stream of ${table}`),
      },
    );
    mappings.push(mapping);
    mapping.start();
    services.database.onWrite = (written) => mappings.forEach((each) => written === each.table && each.nudge());
  }
}

/** An Auto Scaling group's instances: real nginx and one agent each, from the launch template's own user data. */
function bootEdges(context: BootContext): void {
  const { lock, services, geography } = context;
  const templates = new Map(
    lock.all("aws:ec2/launchTemplate:LaunchTemplate").map((template) => [text(template.inputs.name), template]),
  );
  const profiles = new Map(
    lock
      .all("aws:iam/instanceProfile:InstanceProfile")
      .map(({ inputs }) => [
        `arn:aws:iam::${context.account}:instance-profile/${text(inputs.name)}`,
        text(inputs.role),
      ]),
  );
  const launched = new Map<string, number>();
  for (const group of lock.all("aws:autoscaling/group:Group")) {
    const { region, inputs } = group;
    const template = templates.get(text((inputs.launchTemplate as { id: string }).id))!;
    const count = context.edgesPerGroup ?? Number(inputs.desiredCapacity);
    const role = profiles.get((template.inputs.iamInstanceProfile as { arn: string }).arn)!;
    const edges = Array.from({ length: count }, (_, index) => {
      const number = launched.get(region) ?? 0;
      launched.set(region, number + 1);
      return newEdge(context, group, template, index, geography.edgeAddress(region, number), role);
    });
    services.compute.add({
      name: text(inputs.name),
      region,
      min: Number(inputs.minSize),
      max: Number(inputs.maxSize),
      desired: count,
      template: text(template.inputs.name),
      edges,
    });
    for (const edge of edges) edge.start();
  }
}

const versionOf = createRequire(import.meta.url)("../package.json") as { version: string };

function newEdge(
  context: BootContext,
  group: LockedResource,
  template: LockedResource,
  index: number,
  address: string,
  role: string,
): LocalEdge {
  const data = Buffer.from(text(template.inputs.userData), "base64").toString("utf8");
  const settings = EdgeSettings.parse(settingsIn(withPublicKeys(context, data)));
  const id = `i-${createHash("sha256").update(`${group.name} ${index}`).digest("hex").slice(0, 17)}`;
  return new LocalEdge({
    id,
    cell: settings.cell,
    region: group.region,
    address,
    dir: path.join(context.scratch, "edges", id),
    settings,
    agentBundle: context.agentBundle,
    environment: {
      ...keyFor(context, `arn:aws:iam::${context.account}:role/${role}`, group.region),
      PATH: process.env.PATH ?? "/usr/sbin:/usr/bin",
      AWS_ENDPOINT_URL: context.endpoint,
      LANDFALL_VERSION: versionOf.version,
    },
    onFault: context.onFault,
  });
}

/** Creates each resource of the lock, dependencies first. */
import path from "node:path";
import type { PortRange } from "@aws-sdk/client-global-accelerator";
import { type BootContext, keyFor, text, withDeployed } from "./context.ts";
import { bootEdges } from "./edges/boot.ts";
import { StreamMapping } from "./services/lambda/stream-mapping.ts";

const optional = (value: unknown) => (value === undefined ? undefined : String(value));

export async function bootResources(context: BootContext): Promise<void> {
  const { lock, services } = context;
  bootRoles(context);
  for (const { region, name } of lock.all("aws:kms/key:Key"))
    services.kms.createKey(`arn:aws:kms:${region}:${context.account}:key/${name}`);
  await bootTables(context);
  bootBuckets(context);
  for (const { inputs, region } of lock.all("aws:ssm/parameter:Parameter"))
    services.ssm.put(region, text(inputs.name), withDeployed(context, text(inputs.value)));
  bootFunctions(context);
  bootPermissions(context);
  bootInvokeConfigs(context);
  bootResourcePolicies(context);
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
  for (const { inputs } of lock.all("aws:iam/role:Role")) {
    iam.addRole(arn(text(inputs.name)), text(inputs.assumeRolePolicy));
    for (const { policy } of (inputs.inlinePolicies as { policy: string }[] | undefined) ?? [])
      iam.addPolicy(arn(text(inputs.name)), policy);
  }
  for (const { inputs } of lock.all("aws:iam/rolePolicy:RolePolicy"))
    iam.addPolicy(arn(text(inputs.role)), text(inputs.policy));
}

/** Who may invoke a function without a role: a statement of the function's own policy. */
function bootPermissions({ lock, services: { iam, lambda } }: BootContext): void {
  for (const { inputs, name } of lock.all("aws:lambda/permission:Permission")) {
    const { arn } = lambda.get(text(inputs.function)).config;
    const source =
      inputs.sourceArn === undefined ? {} : { Condition: { ArnLike: { "aws:SourceArn": inputs.sourceArn } } };
    const statement = {
      Sid: name,
      Effect: "Allow",
      Principal: { Service: text(inputs.principal) },
      Action: text(inputs.action),
      Resource: arn,
      ...source,
    };
    iam.addResourcePolicy(arn, JSON.stringify({ Version: "2012-10-17", Statement: [statement] }));
  }
}

/** Policies of keys, buckets and buses, where the lock has any. */
function bootResourcePolicies({ lock, account, services: { iam } }: BootContext): void {
  for (const { region, inputs } of lock.all("aws:cloudwatch/eventBusPolicy:EventBusPolicy"))
    iam.addResourcePolicy(
      `arn:aws:events:${region}:${account}:event-bus/${text(inputs.eventBusName)}`,
      text(inputs.policy),
    );
  for (const { region, name, inputs } of lock.all("aws:kms/key:Key"))
    if (inputs.policy !== undefined)
      iam.addResourcePolicy(`arn:aws:kms:${region}:${account}:key/${name}`, text(inputs.policy));
  for (const { inputs } of lock.all("aws:s3/bucketPolicy:BucketPolicy"))
    iam.addResourcePolicy(`arn:aws:s3:::${text(inputs.bucket)}`, text(inputs.policy));
}

async function bootTables({ lock, services: { database } }: BootContext): Promise<void> {
  for (const { inputs } of lock.all("aws:dynamodb/table:Table")) {
    const attributes = inputs.attributes as { name: string; type: "S" | "N" | "B" }[];
    const range = inputs.rangeKey === undefined ? [] : [{ AttributeName: text(inputs.rangeKey), KeyType: "RANGE" }];
    await database.boot("CreateTable", {
      TableName: text(inputs.name),
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: attributes.map(({ name, type }) => ({ AttributeName: name, AttributeType: type })),
      KeySchema: [{ AttributeName: text(inputs.hashKey), KeyType: "HASH" }, ...range],
      ...(inputs.streamEnabled === true
        ? { StreamSpecification: { StreamEnabled: true, StreamViewType: text(inputs.streamViewType) } }
        : {}),
    });
  }
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
        ...keyFor(context, {
          roleArn: text(inputs.role),
          service: "lambda.amazonaws.com",
          session: name,
          region,
        }),
        AWS_ENDPOINT_URL: endpoint,
        LANDFALL_DNS_SERVERS: context.dns.server,
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_CONFIG_FILE: "/dev/null",
        AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
        POWERTOOLS_DEV: "false",
      },
      timeoutSeconds: Number(inputs.timeout),
      memoryMb: Number(inputs.memorySize),
      coldStartMs: latency.coldStartMs,
      logFile: path.join(logs, `${name}.log`),
      reservedConcurrency: reservedIn(inputs.reservedConcurrentExecutions),
    });
  }
}

/** Pulumi writes -1 for no reservation. */
const reservedIn = (value: unknown) => (typeof value === "number" && value >= 0 ? value : undefined);

/** What becomes of asynchronous events that a function fails on. */
function bootInvokeConfigs({ lock, services: { lambda } }: BootContext): void {
  for (const { inputs } of lock.all("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")) {
    const { onFailure } = (inputs.destinationConfig ?? {}) as { onFailure?: { destination?: string } };
    lambda.configureAsync(text(inputs.functionName), {
      ...(inputs.maximumRetryAttempts === undefined ? {} : { retries: Number(inputs.maximumRetryAttempts) }),
      ...(inputs.maximumEventAgeInSeconds === undefined
        ? {}
        : { maxAgeMs: Number(inputs.maximumEventAgeInSeconds) * 1000 }),
      failureDestination: onFailure?.destination,
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

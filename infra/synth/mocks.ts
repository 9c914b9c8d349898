/** Mock answers of AWS while the program runs: ids and ARNs follow from names, so that the lock is stable. */

export const account = "123456789012";
const arn = (service: string, region: string, rest: string) => `arn:aws:${service}:${region}:${account}:${rest}`;

type Inputs = Record<string, unknown>;
const short: Record<string, (name: string, inputs: Inputs, region: string) => Inputs> = {
  "aws:dynamodb/table:Table": (name, inputs, region) => ({
    arn: arn("dynamodb", region, `table/${name}`),
    ...(inputs.streamEnabled ? { streamArn: arn("dynamodb", region, `table/${name}/stream/latest`) } : {}),
  }),
  "aws:lambda/function:Function": (name, _, region) => ({
    arn: arn("lambda", region, `function:${name}`),
    qualifiedArn: arn("lambda", region, `function:${name}:1`),
    version: "1",
  }),
  // A role's id exists only once the role is deployed. The program that boots the lock fills it in.
  "aws:iam/role:Role": (name) => {
    const arn = `arn:aws:iam::${account}:role/${name}`;
    return { arn, uniqueId: `{{roleId ${arn}}}` };
  },
  "aws:iam/instanceProfile:InstanceProfile": (name) => ({ arn: `arn:aws:iam::${account}:instance-profile/${name}` }),
  "aws:sfn/stateMachine:StateMachine": (name, _, region) => ({ arn: arn("states", region, `stateMachine:${name}`) }),
  "aws:s3/bucket:Bucket": (_, { bucket }) => ({ arn: `arn:aws:s3:::${String(bucket)}`, bucket }),
  "aws:cloudwatch/eventBus:EventBus": (name, _, region) => ({ arn: arn("events", region, `event-bus/${name}`) }),
  "aws:cloudwatch/eventRule:EventRule": (name, { eventBusName }, region) => ({
    arn: arn("events", region, eventBusName === undefined ? `rule/${name}` : `rule/${String(eventBusName)}/${name}`),
  }),
  "aws:kms/key:Key": (name, _, region) => ({ arn: arn("kms", region, `key/${name}`), keyId: name }),
  "aws:globalaccelerator/accelerator:Accelerator": (name) => ({
    arn: `arn:aws:globalaccelerator::${account}:accelerator/${name}`,
    dnsName: `${name}.awsglobalaccelerator.com`,
  }),
  "aws:globalaccelerator/listener:Listener": (name, { acceleratorArn }) => ({
    arn: `${String(acceleratorArn)}/listener/${name.toLowerCase()}`,
  }),
};

export const outputsOf = (type: string, name: string, inputs: Inputs, region: string): Inputs =>
  short[type]?.(name, inputs, region) ?? {
    arn: arn(type.split(/[:/]/)[1] ?? "aws", region, `${type.split(":").at(-1)}/${name}`),
  };

interface Statement {
  effect?: string;
  actions?: string[];
  resources?: string[];
  principals?: { type: string; identifiers: string[] }[];
  conditions?: { test: string; variable: string; values: string[] }[];
}
const principalOf = (principals: NonNullable<Statement["principals"]>) =>
  principals.some(({ type }) => type === "*")
    ? "*"
    : Object.fromEntries(principals.map(({ type, identifiers }) => [type, identifiers]));

const policyDocument = ({ statements = [] }: { statements?: Statement[] }) => ({
  Version: "2012-10-17",
  Statement: statements.map(({ effect = "Allow", actions, resources, principals, conditions }) => ({
    Effect: effect,
    Action: actions,
    Resource: resources,
    ...(principals === undefined ? {} : { Principal: principalOf(principals) }),
    ...(conditions === undefined
      ? {}
      : { Condition: Object.fromEntries(conditions.map((one) => [one.test, { [one.variable]: one.values }])) }),
  })),
});

const calls: Record<string, (inputs: Inputs, region: string) => Inputs> = {
  "aws:index/getRegion:getRegion": (_, region) => ({ id: region, region, name: region }),
  "aws:index/getPartition:getPartition": () => ({ partition: "aws", dnsSuffix: "amazonaws.com" }),
  "aws:index/getCallerIdentity:getCallerIdentity": () => ({
    accountId: account,
    arn: `arn:aws:iam::${account}:user/synth`,
  }),
  "aws:iam/getPolicyDocument:getPolicyDocument": (inputs) => ({
    ...inputs,
    json: JSON.stringify(policyDocument(inputs)),
  }),
  "aws:ssm/getParameter:getParameter": (inputs, region) => ({ ...inputs, value: `ami-${region}` }),
  // The public key exists only once the key is deployed. The program that boots the lock fills it in.
  "aws:kms/getPublicKey:getPublicKey": ({ keyId }) => ({ keyId, publicKey: `{{publicKey ${String(keyId)}}}` }),
  "aws:ec2/getVpc:getVpc": (_, region) => ({ id: `vpc-${region}` }),
  "aws:ec2/getSubnets:getSubnets": (_, region) => ({ ids: [`subnet-${region}a`, `subnet-${region}b`] }),
  "aws:ec2/getManagedPrefixList:getManagedPrefixList": (_, region) => ({ id: `pl-${region}` }),
};

export const answerCall = (token: string, inputs: Inputs, region: string): Inputs | undefined =>
  calls[token]?.(inputs, region);

/** Parameter Store: put, get by name and by path, history, delete. */
import * as sdk from "@aws-sdk/client-ssm";
import { AwsError } from "../gateway/error.ts";
import { service } from "../gateway/service.ts";

const standardMax = 4096;
/** Names of one GetParameters (API reference). */
const namesMax = 10;
/** Versions that are kept of a parameter (user guide), and versions of one GetParameterHistory (API reference). */
const versionsMax = 100;
const historyPageMax = 50;

interface Parameter {
  name: string;
  type: "String" | "StringList";
  value: string;
  version: number;
  at: Date;
  /** Earlier versions, oldest first. */
  earlier: Omit<Parameter, "earlier">[];
}

export class Ssm {
  /** By region and name: parameters are regional. */
  readonly #parameters = new Map<string, Parameter>();
  readonly #account: string;

  constructor(account: string) {
    this.#account = account;
  }

  put(region: string, name: string, value: string, type: Parameter["type"] = "String"): number {
    const last = this.#parameters.get(`${region} ${name}`);
    const version = (last?.version ?? 0) + 1;
    const earlier = last === undefined ? [] : [...last.earlier, last].slice(1 - versionsMax);
    this.#parameters.set(`${region} ${name}`, { name, type, value, version, at: new Date(), earlier });
    return version;
  }

  service() {
    const arn = (region: string, name: string) =>
      `arn:aws:ssm:${region}:${this.#account}:parameter/${name.replace(/^\//, "")}`;
    const shown = (region: string, { name, type, value, version, at }: Omit<Parameter, "earlier">) => ({
      Name: name,
      Type: type,
      Value: value,
      Version: version,
      LastModifiedDate: at,
      ARN: arn(region, name),
      DataType: "text",
    });
    const find = (region: string, name: string) => {
      const parameter = this.#parameters.get(`${region} ${name}`);
      if (parameter === undefined) throw new AwsError("ParameterNotFound", ""); // AWS sends no message: the SDK says "UnknownError"
      return parameter;
    };
    return service<typeof sdk>({
      signingName: "ssm",
      protocol: "awsJson",
      sdk,
      resourcesOf: (_, input, { region }) =>
        [input.Name, ...((input.Names as string[] | undefined) ?? []), input.Path]
          .filter((name) => name !== undefined)
          .map((name) => arn(region, String(name))),
      members: {
        PutParameter: "Name Value Type Overwrite Tier Description DataType",
        GetParameter: "Name WithDecryption",
        GetParameters: "Names WithDecryption",
        GetParameterHistory: "Name WithDecryption MaxResults NextToken",
        GetParametersByPath: "Path Recursive WithDecryption MaxResults",
        DescribeParameters: "MaxResults",
      },
      handlers: {
        PutParameter: ({ Name, Value, Type, Overwrite, Tier = "Standard" }, { region }) => {
          if (Type === "SecureString")
            throw new AwsError("ValidationException", "SecureString is not implemented here");
          if (Tier === "Standard" && Buffer.byteLength(Value!) > standardMax)
            throw new AwsError(
              "ValidationException",
              `Standard tier parameters support a maximum parameter value of ${standardMax} characters.`,
            );
          if (!/^[\w./-]+$/.test(Name!))
            throw new AwsError("ValidationException", "Parameter name: can't have other than a-zA-Z0-9_.-/");
          if (this.#parameters.has(`${region} ${Name}`) && Overwrite !== true)
            throw new sdk.ParameterAlreadyExists({
              message:
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
              $metadata: {},
            });
          return {
            Version: this.put(region, Name!, Value!, (Type as Parameter["type"] | undefined) ?? "String"),
            Tier: "Standard",
          };
        },
        GetParameter: ({ Name }, { region }) => ({ Parameter: shown(region, find(region, Name!)) }),
        GetParameters: ({ Names = [] }, { region }) => {
          if (Names.length > namesMax)
            throw new AwsError(
              "ValidationException",
              `1 validation error detected: Value '[${Names.join(", ")}]' at 'names' failed to satisfy constraint: Member must have length less than or equal to ${namesMax}`,
            );
          const found = Names.flatMap((name) => this.#parameters.get(`${region} ${name}`) ?? []);
          return {
            Parameters: found.map((parameter) => shown(region, parameter)),
            InvalidParameters: Names.filter((name) => !this.#parameters.has(`${region} ${name}`)),
          };
        },
        GetParameterHistory: ({ Name, MaxResults = historyPageMax, NextToken = "0" }, { region }) => {
          const parameter = find(region, Name!);
          const from = Number(NextToken);
          const page = [...parameter.earlier, parameter].slice(from, from + MaxResults);
          const next = from + page.length <= parameter.earlier.length ? String(from + page.length) : undefined;
          return {
            Parameters: page.map((version) => {
              const { ARN: _, ...described } = shown(region, version);
              return { ...described, Labels: [], Tier: "Standard", Policies: [] };
            }),
            NextToken: next,
          };
        },
        GetParametersByPath: ({ Path, Recursive }, { region }) => {
          const base = Path!.endsWith("/") ? Path! : `${Path}/`;
          const below = [...this.#parameters]
            .filter(([key, { name }]) => key.startsWith(`${region} `) && name.startsWith(base))
            .map(([, parameter]) => parameter)
            .filter(({ name }) => Recursive === true || !name.slice(base.length).includes("/"));
          return { Parameters: below.sort((a, b) => (a.name < b.name ? -1 : 1)).map((p) => shown(region, p)) };
        },
        DeleteParameter: ({ Name }, { region }) => {
          this.#parameters.delete(`${region} ${find(region, Name!).name}`);
        },
        DescribeParameters: (_, { region }) => ({
          Parameters: [...this.#parameters]
            .filter(([key]) => key.startsWith(`${region} `))
            .map(([, { value: _value, ...parameter }]) => ({
              Name: parameter.name,
              Type: parameter.type,
              Version: parameter.version,
              LastModifiedDate: parameter.at,
            })),
        }),
      },
    });
  }
}

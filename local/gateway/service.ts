/** A service of the embedded cloud: typed handlers in AWS's own shapes, and the schemas that its SDK client has. */
import type { Context } from "../iam/conditions.ts";
import type { Caller } from "../iam/iam.ts";

/** The caller of a request, and the region that it calls. */
export interface Call {
  region: string;
  account: string;
  caller: Caller;
  requestId: string;
}

/** Handlers by operation. An operation without a handler gets AWS's error for an unknown operation. */
export type Handlers<Sdk> = {
  [Key in keyof Sdk as Key extends `${infer Operation}Command` ? Operation : never]?: Sdk[Key] extends abstract new (
    ...options: never
  ) => { readonly input: infer Input }
    ? (input: NonNullable<Input>, call: Call) => Promise<object | void> | object | void
    : never;
};

export type Handler = (input: never, call: Call) => Promise<object | void> | object | void;

export interface Service {
  /** The name in a credential's scope: `states`, `s3`, … */
  signingName: string;
  /** The one region that has an endpoint of the service; absent where every region has one. */
  onlyRegion?: string;
  protocol: "awsJson" | "restJson" | "restXml" | "awsQuery" | "ec2Query";
  sdk: Record<string, unknown>;
  handlers: Record<string, Handler | undefined>;
  /** Operation → the members that its handler supports, if it does not support all. Others are refused, not ignored. */
  members?: Record<string, string>;
  /** IAM's action for an operation, if it is not `signingName:Operation`. */
  actionOf?: (operation: string) => string;
  /** Condition keys of a call that only this service has. */
  contextOf?: (operation: string, input: Record<string, unknown>) => Context;
  /** ARNs that a call acts on; `*` if the service cannot be more specific. */
  resourcesOf?: (operation: string, input: Record<string, unknown>, call: Call) => string[];
}

export interface ServiceOptions<Sdk> extends Omit<Service, "sdk" | "handlers"> {
  sdk: Sdk;
  handlers: Handlers<Sdk>;
}

export const service = <Sdk extends object>(options: ServiceOptions<Sdk>): Service => options as unknown as Service;

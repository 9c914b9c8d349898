/** Who runs a command, as AWS knows them. */
export async function callerArn(): Promise<string> {
  const { GetCallerIdentityCommand, STSClient } = await import("@aws-sdk/client-sts");
  const { Arn = "unknown" } = await new STSClient({}).send(new GetCallerIdentityCommand({}));
  return Arn;
}

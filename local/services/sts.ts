import * as sdk from "@aws-sdk/client-sts";
import { service } from "../gateway/service.ts";

export const sts = service<typeof sdk>({
  signingName: "sts",
  protocol: "awsQuery",
  sdk,
  handlers: {
    GetCallerIdentity: (_, { account, caller }) => ({
      Account: account,
      Arn: caller.arn,
      UserId: caller.userId,
    }),
  },
});

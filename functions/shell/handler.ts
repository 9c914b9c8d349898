/** The common wrapper of all functions: it parses the input, logs in one format, and keeps the names of errors. */
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import type { Context } from "aws-lambda";
import type * as z from "zod";
import { logger } from "../../aws/logger.ts";

/**
 * A Lambda handler around `run`.
 * @throws the errors of `run` with their own names, and `InvalidInputError` when the event does not fit `schema`
 */
export const handler = <S extends z.ZodType, Output>(
  schema: S,
  run: (input: z.output<S>, context: Context) => Promise<Output>,
) =>
  middy<unknown, Output>()
    .use(injectLambdaContext(logger))
    .handler(async (event, context) => {
      const input = schema.safeParse(event);
      if (!input.success) throw new InvalidInputError(input.error.message);
      try {
        return await run(input.data, context);
      } catch (error) {
        logger.error("failed", { error: error as Error });
        throw error;
      }
    });

/** The event does not fit the function's schema. A retry does not help. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";
}

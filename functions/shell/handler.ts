/** What every function has in common: it parses its input, logs in one shape, and lets errors keep their names. */
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import type { Context } from "aws-lambda";
import type * as z from "zod";
import { logger } from "../../aws/logger.ts";

/**
 * A Lambda handler around `run`.
 * @throws what `run` throws, by its own name; and `InvalidInputError` when the event does not fit `schema`
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

/** The event is not what this function takes; no retry helps. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";
}

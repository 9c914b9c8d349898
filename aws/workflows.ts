import { SendTaskSuccessCommand, SFNClient, StartExecutionCommand } from "@aws-sdk/client-sfn";

const client = new SFNClient({});
const isNamed = (error: unknown, ...names: string[]) => error instanceof Error && names.includes(error.name);

/** Starts an execution. An earlier execution of that name counts as started, whatever its outcome. */
export async function startExecution(stateMachineArn: string, name: string, input: object): Promise<void> {
  try {
    await client.send(new StartExecutionCommand({ stateMachineArn, name, input: JSON.stringify(input) }));
  } catch (error) {
    if (!isNamed(error, "ExecutionAlreadyExists")) throw error;
  }
}

/** Ends a waiting task. A task that timed out, or was answered before, is over: that is fine. */
export async function completeTask(taskToken: string, output: object): Promise<void> {
  try {
    await client.send(new SendTaskSuccessCommand({ taskToken, output: JSON.stringify(output) }));
  } catch (error) {
    if (!isNamed(error, "TaskTimedOut", "TaskDoesNotExist", "InvalidToken")) throw error;
  }
}

/** The part of Amazon States Language that runs here, JSONata only. `definition.ts` checks definitions. */

export interface Retrier {
  ErrorEquals: string[];
  IntervalSeconds?: number;
  MaxAttempts?: number;
  BackoffRate?: number;
  MaxDelaySeconds?: number;
  JitterStrategy?: "FULL" | "NONE";
}
export interface Catcher {
  ErrorEquals: string[];
  Next: string;
  Output?: unknown;
  Assign?: Record<string, unknown>;
}
export interface ChoiceRule {
  Condition: unknown;
  Next: string;
  Output?: unknown;
  Assign?: Record<string, unknown>;
}
interface Common {
  Comment?: string;
  QueryLanguage?: "JSONata";
  Output?: unknown;
  Assign?: Record<string, unknown>;
}
interface Flow {
  Next?: string;
  End?: boolean;
}
interface Guarded {
  Retry?: Retrier[];
  Catch?: Catcher[];
}
export type State =
  | (Common &
      Flow &
      Guarded & {
        Type: "Task";
        Resource: string;
        Arguments?: unknown;
        TimeoutSeconds?: unknown;
        HeartbeatSeconds?: unknown;
      })
  | (Common & Flow & { Type: "Pass" })
  | (Common & { Type: "Choice"; Choices: ChoiceRule[]; Default?: string })
  | (Common & Flow & { Type: "Wait"; Seconds?: unknown; Timestamp?: unknown })
  | (Common & { Type: "Succeed" })
  | (Pick<Common, "Comment" | "QueryLanguage"> & { Type: "Fail"; Error?: unknown; Cause?: unknown })
  | (Common & Flow & Guarded & { Type: "Parallel"; Branches: Program[]; Arguments?: unknown })
  | (Common &
      Flow &
      Guarded & {
        Type: "Map";
        Items?: unknown;
        ItemSelector?: unknown;
        ItemProcessor: Program & { ProcessorConfig?: { Mode?: string } };
        MaxConcurrency?: unknown;
      });

export interface Program {
  StartAt: string;
  States: Record<string, State>;
}
export interface Definition extends Program {
  TimeoutSeconds?: number;
}

/** Whether the whole string is `{% … %}`. */
export const isExpression = (value: unknown): value is string =>
  typeof value === "string" && value.startsWith("{%") && value.endsWith("%}");

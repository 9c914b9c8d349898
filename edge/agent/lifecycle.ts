/** Whether Auto Scaling will terminate the instance: it says so in the instance's metadata, so that no AWS call is needed. */
import type { Complaints } from "./complaints.ts";
import type { InstanceMetadata } from "./metadata.ts";

export class Lifecycle {
  readonly #metadata: Pick<InstanceMetadata, "get">;
  readonly #complaints: Complaints;
  /** True from the moment when the instance is to be terminated. */
  isLeaving = false;

  constructor(metadata: Pick<InstanceMetadata, "get">, complaints: Complaints) {
    this.#metadata = metadata;
    this.#complaints = complaints;
  }

  /** While the metadata does not answer, what it said last counts. */
  async look(): Promise<void> {
    try {
      this.isLeaving = (await this.#metadata.get("autoscaling/target-lifecycle-state")) === "Terminated";
    } catch (error) {
      this.#complaints.wrong("the instance metadata does not answer", error);
    }
  }
}

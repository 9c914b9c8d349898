/** Polls this region's bucket for new manifests, and reads their objects. */

import { edgeLimits, snapshotLimits } from "../../../schemas/limits.ts";
import type { EdgeReport } from "../../../schemas/report.ts";
import { sha256 } from "../../../schemas/signed.ts";
import { manifestKey, objectKey } from "../../../schemas/snapshot.ts";
import { clock } from "../clock.ts";
import { type EdgeCloud, TooLargeError } from "./aws.ts";
import type { Store } from "./store.ts";
import { RefusedError } from "./verify.ts";

const { manifestBytesMax, objectBytesMax } = snapshotLimits;
const { pollJitterMs, quietPollMs, quietAfterMs } = edgeLimits;
const retryMs = 125;
const retryMax = 10_000;

export class SnapshotSource {
  readonly #cloud: EdgeCloud;
  readonly #store: Store;
  readonly #bucket: string;
  readonly #cell: string;
  #etag: string | undefined;
  /** The manifest that could not be applied, and when to try it again. Another manifest is tried at once. */
  #failed = { etag: undefined as string | undefined, times: 0, until: 0 };
  /** When a manifest last came that is not applied yet, and when the bucket was last asked, as `pull` is told the time. */
  #changedAt = 0;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Why the newest manifest is not applied. */
  nack: EdgeReport["nack"];
  /** When the bucket last answered which manifest is the newest, milliseconds since 1970. */
  heardAt = 0;

  constructor(cloud: EdgeCloud, store: Store, where: { bucket: string; cell: string }) {
    this.#cloud = cloud;
    this.#store = store;
    this.#bucket = where.bucket;
    this.#cell = where.cell;
  }

  /**
   * Calls `apply` with the manifest if it is new, or if its retry after a failure is due. When nothing has changed for a
   * while, most calls do nothing.
   * @throws what `apply` throws
   */
  async pull(now: number, apply: (text: string) => Promise<void>): Promise<void> {
    const isQuiet = now - this.#changedAt >= quietAfterMs;
    if (isQuiet && now - this.#askedAt < quietPollMs - pollJitterMs) return;
    this.#askedAt = now;
    const answer = await this.#manifest();
    this.heardAt = clock();
    if (answer === undefined || answer === "notModified") return;
    this.#changedAt = now;
    if (answer.etag === this.#failed.etag && now < this.#failed.until) return;
    try {
      await apply(answer.text);
      this.#etag = answer.etag;
      this.#failed = { etag: undefined, times: 0, until: 0 };
      this.nack = undefined;
    } catch (error) {
      this.#refused(error);
      if (error instanceof RefusedError) this.#etag = answer.etag; // it can never be applied: wait for other bytes
      const times = answer.etag === this.#failed.etag ? this.#failed.times + 1 : 1;
      this.#failed = { etag: answer.etag, times, until: now + Math.min(retryMax, retryMs * 2 ** times) };
      throw error;
    }
  }

  async #manifest() {
    try {
      return await this.#cloud.getObject(this.#bucket, manifestKey(this.#cell), manifestBytesMax, this.#etag);
    } catch (error) {
      if (error instanceof TooLargeError) this.#refused(error); // other errors are not the manifest's fault
      throw error;
    }
  }

  #refused(error: unknown): void {
    const { message = String(error), generation = 0 } = error as { message?: string; generation?: number };
    this.nack = { generation, reason: message.slice(0, edgeLimits.reasonCharactersMax) };
  }

  /** Reads the object from disk, else from the bucket; undefined if neither has it. */
  async object(hash: string): Promise<string | undefined> {
    const kept = this.#store.object(hash);
    if (kept !== undefined) return kept;
    const answer = await this.#cloud.getObject(this.#bucket, objectKey(hash), objectBytesMax);
    if (answer === undefined || answer === "notModified") return undefined;
    if (sha256(answer.text) !== hash) throw new Error(`the content of object ${hash} does not match its hash`);
    this.#store.saveObject(hash, answer.text);
    return answer.text;
  }
}

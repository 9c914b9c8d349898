/**
 * One direction of a connection across the network: bytes, and at the end FIN or RST, each as late as the way is long, in
 * order. A lost segment is late by what TCP needs to send it again, and everything behind it waits for it.
 */
import type net from "node:net";
import { performance } from "node:perf_hooks";

/** The way between two places in one direction, as it is at the moment. */
export interface Way {
  oneWayMs: number;
  jitterMs: number;
  lossShare: number;
  cut: boolean;
}

/** Bytes in flight before the source is paused. Larger than the open window of any real path. */
const inFlightMax = 4 * 1024 * 1024;
/** Bytes of one segment. */
const segmentBytes = 1460;
/** TCP's retransmission timer is at least this long (RFC 6298; Linux), and doubles with each further loss. */
const retransmitMinMs = 200;
const retransmitMaxMs = 60_000;
/** Retransmissions of one segment before a connection gives up (Linux tcp_retries2). */
const retransmissionsMax = 15;
/** How often a cut way is looked at again: a segment that waits behind a cut is sent when TCP tries it the next time. */
const cutPollMs = 100;

type Parcel = { due: number } & ({ kind: "bytes"; chunk: Buffer } | { kind: "fin" } | { kind: "rst" });

export class Wire {
  readonly #source: net.Socket;
  readonly #target: net.Socket;
  readonly #way: () => Way;
  readonly #parcels: Parcel[] = [];
  readonly #random: () => number;
  #inFlight = 0;
  readonly #notBefore: number;
  #lastDue = 0;
  #timer: NodeJS.Timeout | NodeJS.Immediate | undefined;

  /** `notBefore` holds the first bytes until the handshake would be over. */
  constructor(
    source: net.Socket,
    target: net.Socket,
    way: () => Way,
    { notBefore = 0, random = Math.random }: { notBefore?: number; random?: () => number } = {},
  ) {
    this.#source = source;
    this.#target = target;
    this.#way = way;
    this.#notBefore = notBefore;
    this.#random = random;
  }

  send(chunk: Buffer): void {
    this.#inFlight += chunk.length;
    if (this.#inFlight > inFlightMax) this.#source.pause();
    this.#push({ kind: "bytes", chunk }, Math.ceil(chunk.length / segmentBytes));
  }

  /** The source will send no more. */
  finish(): void {
    this.#push({ kind: "fin" }, 1);
  }

  /** The source is gone: what it sent before still arrives, as far as the target reads it. */
  reset(): void {
    this.#push({ kind: "rst" }, 1);
  }

  #push(parcel: { kind: "bytes"; chunk: Buffer } | { kind: "fin" } | { kind: "rst" }, segments: number): void {
    const due = Math.max(this.#lastDue, Math.max(performance.now(), this.#notBefore) + this.#delayOf(segments));
    this.#lastDue = due;
    this.#parcels.push({ ...parcel, due });
    this.#schedule();
  }

  /** One way, jitter, and the retransmissions of whichever segment is lost most often. */
  #delayOf(segments: number): number {
    const { oneWayMs, jitterMs, lossShare } = this.#way();
    let delay = oneWayMs + jitterMs * this.#random();
    if (lossShare === 0) return delay;
    let losses = 0;
    for (let segment = 0; segment < segments; segment++) {
      let own = 0;
      while (own < retransmissionsMax && this.#random() < lossShare) own++;
      losses = Math.max(losses, own);
    }
    const firstMs = Math.max(retransmitMinMs, 2 * oneWayMs + 4 * jitterMs);
    for (let loss = 0; loss < losses; loss++) delay += Math.min(firstMs * 2 ** loss, retransmitMaxMs);
    return delay;
  }

  #schedule(): void {
    const next = this.#parcels[0];
    if (this.#timer !== undefined || next === undefined) return;
    const rest = next.due - performance.now();
    // A timer is up to a millisecond late, which is much on a path of ten. The last millisecond uses setImmediate.
    if (rest > 1) this.#timer = setTimeout(() => this.#deliver(), Math.floor(rest));
    else this.#timer = setImmediate(() => this.#deliver());
  }

  #deliver(): void {
    this.#timer = undefined;
    if (this.#way().cut) {
      this.#timer = setTimeout(() => this.#deliver(), cutPollMs);
      return;
    }
    const now = performance.now();
    while (this.#parcels[0] !== undefined && this.#parcels[0].due <= now) {
      const parcel = this.#parcels.shift()!;
      if (this.#target.destroyed) return this.stop();
      if (parcel.kind === "rst") {
        this.stop();
        abort(this.#target);
        return;
      }
      if (parcel.kind === "fin") {
        this.#target.end();
        continue;
      }
      this.#inFlight -= parcel.chunk.length;
      this.#target.write(parcel.chunk);
    }
    if (this.#inFlight <= inFlightMax / 2 && this.#source.isPaused()) this.#source.resume();
    this.#schedule();
  }

  /** Nothing more arrives. */
  stop(): void {
    this.#parcels.length = 0;
    clearTimeout(this.#timer as NodeJS.Timeout);
    clearImmediate(this.#timer as NodeJS.Immediate);
    this.#timer = undefined;
  }
}

/** Resets a connection. One that is not there yet is given up: the kernel has nothing to reset. */
export function abort(socket: net.Socket): void {
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

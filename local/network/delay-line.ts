/** Carries bytes from one socket to another, with the delay of the path. */
import type net from "node:net";
import { performance } from "node:perf_hooks";

/** The source is paused above this number of bytes in flight. It is larger than the window of any real path. */
const inFlightMost = 4 * 1024 * 1024;

interface Parcel {
  due: number;
  chunk: Buffer | undefined;
}

/** Carries one direction. `notBefore` is when a handshake would be over: the first bytes are held until then. */
export function delay(source: net.Socket, target: net.Socket, oneWayMs: number, notBefore = 0): void {
  const parcels: Parcel[] = [];
  let inFlight = 0;
  let scheduled = false;
  const push = (chunk: Buffer | undefined) => {
    parcels.push({ due: Math.max(performance.now(), notBefore) + oneWayMs, chunk });
    inFlight += chunk?.length ?? 0;
    if (inFlight > inFlightMost) source.pause();
    schedule();
  };
  const schedule = () => {
    const next = parcels[0];
    if (scheduled || next === undefined) return;
    scheduled = true;
    const rest = next.due - performance.now();
    // A timer is up to 1 ms late, which is much on a path of 10 ms. The last millisecond uses turns of the event loop.
    if (rest > 1) setTimeout(deliver, Math.floor(rest));
    else setImmediate(deliver);
  };
  const deliver = () => {
    scheduled = false;
    const now = performance.now();
    while (parcels[0] !== undefined && parcels[0].due <= now) {
      const { chunk } = parcels.shift()!;
      if (target.destroyed) return;
      if (chunk === undefined) {
        target.end();
        return;
      }
      inFlight -= chunk.length;
      target.write(chunk);
    }
    if (inFlight <= inFlightMost / 2 && source.isPaused()) source.resume();
    schedule();
  };
  source.on("data", push);
  source.on("end", () => push(undefined));
}

/** Carries both directions, with half-closes. A reset on one side resets the other after the one-way delay. */
export function join(client: net.Socket, server: net.Socket, rttMs: number, clientNotBefore = 0): void {
  delay(client, server, rttMs / 2, clientNotBefore);
  delay(server, client, rttMs / 2);
  const mirror = (from: net.Socket, to: net.Socket) => {
    from.on("error", () => setTimeout(() => to.resetAndDestroy(), rttMs / 2));
    from.on("close", () => {
      if (!from.readableEnded) setTimeout(() => to.resetAndDestroy(), rttMs / 2);
    });
  };
  mirror(client, server);
  mirror(server, client);
}

/** What an edge can carry, from its machine's memory, and how much of that is in use. Pure. */
import type { Fullness } from "../../schemas/report.ts";

/** Memory of a session that carried 64 KB, with its part of the agent's notes: 137 KB were measured. */
const sessionBytes = 150 * 1024;
/** Half of the memory is for sessions. The rest is for the routes' files, the agent, and the system. */
const sessionsShare = 0.5;
/** A source holds at most this share of the sessions. */
const sourceShare = 0.25;
/** Connections of nginx's own: its sockets, its logs, the agent's questions. */
const ownConnections = 16;
/** However small the machine is. */
const sessionsLeast = 64;

export interface Machine {
  memoryBytes: number;
  /** What nginx's settings allow for each worker, at most. */
  connectionsMax: number;
  /** Sockets that it listens on. Each worker holds all of them. */
  listening: number;
}

export interface Capacity {
  sessions: number;
  /** Sessions of one source. */
  perSource: number;
  /** `worker_connections`: a session takes two, and one worker may have them all. */
  connections: number;
}

export function capacityOf({ memoryBytes, connectionsMax, listening }: Machine): Capacity {
  const own = listening + ownConnections;
  const inMemory = Math.floor((memoryBytes * sessionsShare) / sessionBytes);
  const sessions = Math.max(sessionsLeast, Math.min(inMemory, Math.floor((connectionsMax - own) / 2)));
  return { sessions, perSource: Math.ceil(sessions * sourceShare), connections: own + 2 * sessions };
}

/** What is in use, each as a share of what there is. */
export interface Use {
  sessions: number;
  memory: number;
  /** Of the file system with the routes' files, if that is memory. */
  files: number;
}

/** From these shares on, an edge asks for fewer new users, and for none. It takes the word back when much room is free again. */
const shares = { tight: { from: 0.9, until: 0.8 }, full: { from: 0.97, until: 0.9 } };

/** How full an edge is, after it was as full as `before`. */
export function fullnessAt(share: number, before: Fullness | undefined): Fullness | undefined {
  if (share >= (before === "full" ? shares.full.until : shares.full.from)) return "full";
  return share >= (before === undefined ? shares.tight.from : shares.tight.until) ? "tight" : undefined;
}

/** What is nearest to its limit. */
export function fullest(use: Use): { what: keyof Use; share: number } {
  const [[what, share] = ["sessions", 0] as const] = (Object.entries(use) as [keyof Use, number][]).toSorted(
    ([, a], [, b]) => b - a,
  );
  return { what, share };
}

/** Makes connections on request and reports the results. A separate process, so that its work disturbs nothing else. */
import net from "node:net";
import { performance } from "node:perf_hooks";
import { clientHello } from "../../test/fixtures/client-hello.ts";

export type Order =
  /** `count` connections, `parallel` at a time, each with another name. Each lasts until the first byte returns. */
  | { kind: "connect"; host: string; port: number; names: string[]; count: number; parallel: number }
  /** Sends a byte and waits for its echo, `count` times over one connection. */
  | { kind: "echo"; host: string; port: number; name: string; count: number }
  /** Opens one connection after another, until one is answered with this byte. */
  | { kind: "until"; host: string; port: number; name: string; answer: string }
  /** So many connections a second from one address, whatever becomes of those before. */
  | {
      kind: "steady";
      host: string;
      port: number;
      name: string;
      from: string;
      perSecond: number;
      seconds: number;
    }
  /** Keeps `count` sessions open for `seconds`. Replaces each after `lifeSeconds`; counts those that end early. */
  | { kind: "hold"; host: string; port: number; names: string[]; count: number; seconds: number; lifeSeconds: number };

export interface Outcome {
  /** The time of each connection or echo, µs. */
  times: number[];
  /** Connections that were refused or closed before an answer. */
  failed: number;
  /** Sessions that ended by themselves after they had been open. */
  lost?: number;
  seconds: number;
}

process.on("message", (order: Order) => {
  const work = { connect: connections, echo: echoes, until, hold, steady }[order.kind] as (
    order: Order,
  ) => Promise<Outcome>;
  work(order).then(
    (outcome) => process.send!(outcome),
    (error: Error) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => process.exit(0));

async function connections({ host, port, names, count, parallel }: Order & { kind: "connect" }): Promise<Outcome> {
  const hellos = names.map((name) => clientHello({ name }));
  const times: number[] = [];
  let failed = 0;
  let next = 0;
  const began = performance.now();
  const worker = async () => {
    for (let at = next++; at < count; at = next++) {
      const took = await once(host, port, hellos[(at * 7919) % hellos.length]!);
      if (took === undefined) failed++;
      else times.push(took);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return { times, failed, seconds: (performance.now() - began) / 1000 };
}

/** µs until the first byte returns; undefined if the connection ends first. */
const once = (host: string, port: number, hello: Buffer) =>
  new Promise<number | undefined>((resolve) => {
    const began = performance.now();
    const socket = net.connect({ host, port, noDelay: true }, () => socket.write(hello));
    const end = (took?: number) => {
      socket.destroy();
      resolve(took);
    };
    socket.once("data", () => end((performance.now() - began) * 1000));
    socket.once("error", () => end());
    socket.once("close", () => end());
  });

/** A user who waits longer has gone. */
const patienceMs = 2000;

async function steady({ host, port, name, from, perSecond, seconds }: Order & { kind: "steady" }): Promise<Outcome> {
  const hello = clientHello({ name });
  const all: Promise<number | undefined>[] = [];
  const began = performance.now();
  const one = () =>
    new Promise<number | undefined>((resolve) => {
      const began = performance.now();
      const socket = net.connect({ host, port, localAddress: from, noDelay: true }, () => socket.write(hello));
      const end = (took?: number) => {
        socket.destroy();
        resolve(took);
      };
      socket.setTimeout(patienceMs, () => end());
      socket.once("data", () => end((performance.now() - began) * 1000));
      socket.once("error", () => end()).once("close", () => end());
    });
  for (let now = 0; now < seconds * 1000; now = performance.now() - began) {
    while (all.length < (now / 1000) * perSecond) all.push(one());
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const took = await Promise.all(all);
  const times = took.flatMap((time) => time ?? []);
  return { times, failed: took.length - times.length, seconds };
}

async function echoes({ host, port, name, count }: Order & { kind: "echo" }): Promise<Outcome> {
  const socket = net.connect({ host, port, noDelay: true });
  let waiting: PromiseWithResolvers<void> | undefined;
  const answered = () => {
    waiting = Promise.withResolvers();
    return waiting.promise;
  };
  socket.on("data", () => waiting?.resolve());
  socket.on("close", () => waiting?.reject(new Error("closed by the other side")));
  socket.on("error", () => {}); // close follows
  socket.write(clientHello({ name }));
  await answered();
  const times: number[] = [];
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    socket.write("k");
    await answered();
    times.push((performance.now() - began) * 1000);
  }
  socket.destroy();
  return { times, failed: 0, seconds: (performance.now() - start) / 1000 };
}

async function until({ host, port, name, answer }: Order & { kind: "until" }): Promise<Outcome> {
  const hello = clientHello({ name });
  const began = performance.now();
  const ask = () =>
    new Promise<string>((resolve) => {
      const socket = net.connect({ host, port, noDelay: true }, () => socket.write(hello));
      const end = (text: string) => {
        socket.destroy();
        resolve(text);
      };
      socket.once("data", (chunk) => end(String(chunk)));
      socket.once("error", () => end(""));
      socket.once("close", () => end(""));
    });
  for (let tries = 0; (await ask()) !== answer; tries++)
    if (tries > 100_000) throw new Error(`${name} never answers ${answer}`);
  return { times: [], failed: 0, seconds: (performance.now() - began) / 1000 };
}

/** The number of loopback addresses to connect from: an edge limits the sessions of one address. */
const sources = 16;

async function hold({ host, port, names, count, seconds, lifeSeconds }: Order & { kind: "hold" }): Promise<Outcome> {
  const hellos = names.map((name) => clientHello({ name }));
  const open: { socket: net.Socket; since: number }[] = [];
  const times: number[] = [];
  let [next, failed, lost] = [0, 0, 0];
  const add = async () => {
    const at = next++;
    const began = performance.now();
    const localAddress = `127.0.0.${2 + (at % sources)}`;
    const socket = net.connect({ host, port, localAddress, noDelay: true }, () =>
      socket.write(hellos[(at * 7919) % hellos.length]!),
    );
    const session = { socket, since: 0 };
    const answered = new Promise<boolean>((resolve) => {
      socket.once("data", () => resolve(true));
      socket.once("close", () => resolve(false));
    });
    socket.on("error", () => {}); // close follows
    if (!(await answered)) return void failed++;
    times.push((performance.now() - began) * 1000);
    session.since = performance.now();
    open.push(session);
    socket.once("close", () => {
      if (open.includes(session)) lost++;
    });
  };
  const began = performance.now();
  while (open.length < count) await Promise.all(Array.from({ length: Math.min(50, count - open.length) }, add));
  const perTick = count / lifeSeconds / 20;
  let owed = 0;
  while (performance.now() - began < seconds * 1000) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (owed += perTick; owed >= 1; owed--) {
      open.shift()?.socket.end();
      await add();
    }
    for (const { socket } of open.slice(0, 20)) socket.write("k");
  }
  const settled = { times, failed, lost, seconds: (performance.now() - began) / 1000 };
  for (const { socket } of open.splice(0)) socket.destroy();
  return settled;
}

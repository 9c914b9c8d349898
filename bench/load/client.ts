/** Makes connections as told, and says how they went. A process of its own, so that its work is nobody else's. */
import net from "node:net";
import { performance } from "node:perf_hooks";
import { clientHello } from "../../test/fixtures/client-hello.ts";

export type Order =
  /** `count` connections, `parallel` at a time, each with another of the names; each until the first byte is back. */
  | { kind: "connect"; host: string; port: number; names: string[]; count: number; parallel: number }
  /** One byte there and back, `count` times over one connection. */
  | { kind: "echo"; host: string; port: number; name: string; count: number };

export interface Outcome {
  /** Each connection's, or echo's, time in µs. */
  times: number[];
  failed: number;
  seconds: number;
}

process.on("message", (order: Order) => {
  const work = order.kind === "connect" ? connections(order) : echoes(order);
  work.then(
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

/** µs until the first byte is back; undefined when the connection ends before. */
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

async function echoes({ host, port, name, count }: Order & { kind: "echo" }): Promise<Outcome> {
  const socket = net.connect({ host, port, noDelay: true });
  const answered = () =>
    new Promise<void>((resolve, reject) => {
      socket.once("data", () => resolve());
      socket.once("close", () => reject(new Error("closed by the other side")));
    });
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

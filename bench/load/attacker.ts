/** Holds connections as a hostile client does, until it is told to leave. A separate process, so that its end is abrupt. */
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { clientHello } from "../../test/fixtures/client-hello.ts";

export interface Attack {
  host: string;
  port: number;
  name: string;
  /** Source addresses, and connections of each. */
  sources: string[];
  each: number;
  /** `half`: stops in the middle of a hello of 64 KB. `whole`: opens a session and sends this many bytes into it. */
  sends: { half: true } | { whole: number };
}

/** As many connects side by side as the listener's queue takes. */
const atOnce = 100;

process.on("message", async ({ host, port, name, sources, each, sends }: Attack) => {
  const hello = clientHello({ name });
  const large = clientHello({ name, strangers: { count: 60, length: 1000 } });
  const first =
    "half" in sends ? large.subarray(0, large.length / 2) : Buffer.concat([hello, Buffer.alloc(sends.whole)]);
  const open: net.Socket[] = [];
  for (let index = 0; index < each; index += atOnce) {
    for (const localAddress of sources)
      for (let one = index; one < Math.min(each, index + atOnce); one++) {
        const socket = net.connect({ host, port, localAddress, noDelay: true }, () => socket.write(first));
        socket.on("error", () => {}).resume();
        open.push(socket);
      }
    await sleep(100);
  }
  await sleep(1000);
  process.send!(open.filter((socket) => !socket.destroyed && !socket.connecting).length);
});
process.on("disconnect", () => process.exit(0)); // the kernel resets all of them

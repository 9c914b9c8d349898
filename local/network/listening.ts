/**
 * Who listens on this machine, read from the kernel's own table: to connect and close would count as an attack with some
 * servers (OpenSSH, MySQL). The kernel takes some 10 ms to write the table, so it is read beside the thread's own work.
 */
import { readFile } from "node:fs/promises";

const listenState = "0A";

/** Whether an address and port of this machine have a listening socket. */
export type Listening = (host: string, port: number) => boolean;

/** The state of now; undefined where the kernel does not tell. */
export async function readListening(): Promise<Listening | undefined> {
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map(read));
  if (tables.every((table) => table === undefined)) return undefined;
  const listening = new Set<string>();
  for (const [, socket, state] of tables.join("\n").matchAll(/^\s*\d+: ([0-9A-F]+:[0-9A-F]{4}) \S+ (\w\w) /gm))
    if (state === listenState) listening.add(socket!);
  return (host, port) => {
    const wanted = hex(port, 4);
    const ipv4 = host
      .split(".")
      .toReversed()
      .map((part) => hex(Number(part), 2))
      .join("");
    const everywhere = ["00000000", "0".repeat(32)];
    return [ipv4, `0000000000000000FFFF0000${ipv4}`, ...everywhere].some((at) => listening.has(`${at}:${wanted}`));
  };
}

const hex = (number: number, digits: number) => number.toString(16).toUpperCase().padStart(digits, "0");

async function read(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // not Linux, or no IPv6
    throw error;
  }
}

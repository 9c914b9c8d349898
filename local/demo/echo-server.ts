/** Replaces a tenant's access proxy: sends the region that a connection comes from, then echoes. TLS and raw TCP. */
import net from "node:net";
import tls from "node:tls";
import { generate } from "selfsigned";
import type { Geography } from "../network/geography.ts";

export interface EchoServer {
  tlsPort: number;
  rawPort: number;
  /** The certificate that clients trust. */
  ca: string;
  close(): void;
}

export async function startEchoServer(names: string[], geography: Geography): Promise<EchoServer> {
  const altNames = names.map((value) => ({ type: 2 as const, value }));
  const made = await generate([{ name: "commonName", value: names[0]! }], {
    algorithm: "sha256",
    keySize: 2048,
    extensions: [{ name: "subjectAltName", altNames }],
  });
  const serve = (socket: net.Socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => {}); // a client that is gone
    socket.write(`${geography.placeOf(socket.remoteAddress ?? "").region}\n`);
    socket.pipe(socket);
  };
  const secure = tls.createServer({ key: made.private, cert: made.cert }, serve);
  const raw = net.createServer({ noDelay: true }, serve);
  const listen = (server: net.Server) =>
    new Promise<number>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
    });
  secure.on("tlsClientError", () => {});
  const [tlsPort, rawPort] = await Promise.all([listen(secure), listen(raw)]);
  return {
    tlsPort,
    rawPort,
    ca: made.cert,
    close: () => {
      secure.close();
      raw.close();
    },
  };
}

/** Where nginx says, as it happens, that it could not connect a user to a backend: a datagram each, in syslog's form. */
import dgram from "node:dgram";

/** @returns closes it */
export function hearFailures(
  at: { address: string; port: number },
  onFailure: (backend: string) => void,
  onError: (error: Error) => void,
): () => void {
  const socket = dgram.createSocket(at.address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message) => {
    const backend = /(?:^|\s)(\S+:\d{1,5})\s*$/.exec(message.toString("latin1"))?.[1];
    if (backend !== undefined) onFailure(backend);
  });
  socket.on("error", onError);
  socket.bind(at.port, at.address);
  return () => socket.close();
}

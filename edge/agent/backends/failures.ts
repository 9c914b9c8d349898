/** Receives nginx's reports of failed connections to backends, at once: one syslog datagram for each. */
import dgram from "node:dgram";

/** @returns a function that closes the socket */
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

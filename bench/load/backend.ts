/** A minimal backend: answers each chunk with one byte. It sends its port to its parent process, and ends with it. */
import net from "node:net";

const answer = process.argv[2] ?? ".";
const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {}); // a client that is gone
  socket.on("data", () => socket.write(answer));
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () =>
  process.send!((server.address() as net.AddressInfo).port),
);
process.on("disconnect", () => process.exit(0));

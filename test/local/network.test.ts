import { readdirSync } from "node:fs";
import net from "node:net";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { cities, Geography } from "../../local/network/geography.ts";
import { Network } from "../../local/network/network.ts";
import { type Group, route } from "../../local/network/routing.ts";
import { eventually } from "./harness.ts";

const geography = new Geography(77, ["us-west-2", "eu-west-3", "ap-northeast-1"]);
const endpoint = (id: string, changes = {}) => ({ id, address: "127.0.0.1", weight: 128, healthy: true, ...changes });
const group = (region: string, changes: Partial<Group> = {}): Group => ({
  region,
  dial: 100,
  endpoints: [endpoint(region)],
  ...changes,
});
const distances: Record<string, number> = { near: 10, middle: 100, far: 200, farthest: 300 };
const go = (groups: Group[], flow = 0, share = 0) =>
  route(groups, (region) => distances[region]!, flow, share)?.endpoint.id;

describe("route", () => {
  it("prefers the nearest group", () => {
    expect(go([group("far"), group("near")])).toBe("near");
  });

  it("sends the share above a group's dial to the next group", () => {
    const groups = [group("near", { dial: 30 }), group("middle")];
    expect([go(groups, 0, 0.29), go(groups, 0, 0.31)]).toEqual(["near", "middle"]);
  });

  it("skips a group whose endpoints are unhealthy or have weight 0", () => {
    expect(go([group("near", { endpoints: [endpoint("a", { healthy: false })] }), group("far")])).toBe("far");
    expect(go([group("near", { endpoints: [endpoint("a", { weight: 0 })] }), group("far")])).toBe("far");
  });

  it("ignores dials when it fails over", () => {
    expect(go([group("near", { dial: 0 }), group("far", { endpoints: [endpoint("a", { healthy: false })] })])).toBe(
      "near",
    );
  });

  it("fails open to the nearest group when no endpoint is healthy", () => {
    const dead = (id: string) => ({ endpoints: [endpoint(id, { healthy: false, weight: 0 })] });
    expect(go([group("far", dead("f")), group("near", dead("n"))])).toBe("n");
    expect(go([])).toBeUndefined();
  });

  it("shares flows in proportion to weights, and never gives one to weight 0", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 0.999999, noNaN: true }), (flow) => {
        const chosen = go(
          [
            group("near", {
              endpoints: [endpoint("a", { weight: 0 }), endpoint("b", { weight: 30 }), endpoint("c", { weight: 10 })],
            }),
          ],
          flow,
        );
        expect(chosen).toBe(flow < 0.75 ? "b" : "c");
      }),
    );
  });
});

describe("Geography", () => {
  it("maps an address to its place: a client to its city, an edge or a pod to its region", () => {
    expect(geography.placeOf(geography.locations.sydney!)).toMatchObject({
      name: "sydney",
      region: "ap-southeast-2",
      lastMileMs: 6,
    });
    expect(geography.placeOf(geography.edgeAddress("eu-west-3", 1)).region).toBe("eu-west-3");
    expect(geography.placeOf(geography.podAddress("ap-northeast-1", 0)).region).toBe("ap-northeast-1");
    expect(geography.placeOf("127.0.0.1")).toEqual({ region: "us-west-2", lastMileMs: 0 });
  });

  it("computes the same round trip in both directions", () => {
    const sydney = cities.find(({ name }) => name === "sydney")!;
    const oregon = { region: "us-west-2", lastMileMs: 0 };
    expect(geography.rtt(sydney, oregon)).toBe(142 + 6);
    expect(geography.rtt(oregon, sydney)).toBe(148);
    expect(geography.regionRtt("us-west-2", "us-west-2")).toBe(1);
    for (const from of cities)
      for (const to of geography.regions) expect(geography.regionRtt(from.region, to)).toBeGreaterThan(0);
  });

  it("refuses a region that the fleet lacks", () => {
    expect(() => geography.podAddress("mars-north-1", 0)).toThrow("use one of us-west-2, eu-west-3, ap-northeast-1");
  });
});

/** Sockets of this process that are open towards a port, and those that the kernel keeps for both of their ends. */
const descriptors = () => readdirSync("/proc/self/fd").length;

describe("A connection across the network", () => {
  const network = new Network(98, ["us-west-2", "eu-west-3", "ap-northeast-1"], (error) => faults.push(error));
  const faults: unknown[] = [];
  const map = new Geography(98, ["us-west-2", "eu-west-3", "ap-northeast-1"]);
  let pods = 0;
  const open: (() => void)[] = [];
  afterEach(() => {
    for (const close of open.splice(0)) close();
  });
  afterAll(async () => {
    await network.stop();
    expect(faults).toEqual([]);
  });

  /** A server in a region, behind its distance; `from` is where the client is. */
  async function pod(region: string, serve: (socket: net.Socket) => void) {
    const sockets = new Set<net.Socket>();
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
      serve(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const targetPort = (server.address() as net.AddressInfo).port;
    const address = map.podAddress(region, pods++ % 200);
    await network.openPod({ address, port: 4000, targetHost: "127.0.0.1", targetPort });
    open.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
      void network.closePod({ address, port: 4000 });
    });
    return { address, sockets, server };
  }
  const connect = (host: string, city = "seattle") => {
    const socket = net.connect({
      host,
      port: 4000,
      localAddress: map.locations[city]!,
      allowHalfOpen: true,
      noDelay: true,
    });
    socket.on("error", () => {});
    open.push(() => socket.destroy());
    return socket;
  };
  const once = (socket: net.Socket, event: string) => new Promise<unknown>((resolve) => socket.once(event, resolve));
  const connected = async (host: string, city?: string) => {
    const socket = connect(host, city);
    await once(socket, "connect");
    return socket;
  };

  it("carries every byte and half-close in order, no faster than the round trip", async () => {
    const { address } = await pod("eu-west-3", (socket) => socket.pipe(socket));
    const began = performance.now();
    const sent = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));
    const received: Buffer[] = [];
    let firstAt = 0;
    const client = connect(address, "paris");
    client.on("data", (chunk: Buffer) => {
      firstAt ||= performance.now() - began;
      received.push(chunk);
    });
    client.end(sent);
    await once(client, "end");
    expect(Buffer.concat(received).equals(sent)).toBe(true);
    expect(firstAt).toBeGreaterThanOrEqual(2 * 7 - 1); // handshake, and there and back
  });

  it("echoes keys as late as the path is long, also when it watches twenty targets", async () => {
    for (let other = 0; other < 20; other++) await pod("eu-west-3", () => {});
    const { address } = await pod("us-west-2", (socket) => socket.pipe(socket));
    const client = await connected(address, "new-york");
    const times: number[] = [];
    for (let key = 0; key < 15; key++) {
      const pressed = performance.now();
      client.write("k");
      await once(client, "data");
      times.push(performance.now() - pressed);
    }
    const median = times.toSorted((a, b) => a - b)[7]!;
    const rtt = map.rtt(map.placeOf(map.locations["new-york"]!), map.placeOf(address));
    expect(median).toBeGreaterThanOrEqual(rtt - 1);
    expect(median).toBeLessThan(rtt * 1.2);
  });

  it("forwards a reset", async () => {
    const { address } = await pod("us-west-2", (socket) => socket.on("data", () => socket.resetAndDestroy()));
    const client = connect(address);
    client.write("x");
    expect(((await once(client, "error")) as NodeJS.ErrnoException).code).toBe("ECONNRESET");
  });

  it.each([
    ["at once", async (host: string) => void connect(host).end()],
    [
      "at once, for good",
      async (host: string) =>
        void connect(host).on("connect", function (this: net.Socket) {
          this.destroy();
        }),
    ],
    ["after the connect", async (host: string) => void (await connected(host)).end()],
    ["with bytes", async (host: string) => void connect(host).end("hello")],
    [
      "while the far side is not there yet",
      async (host: string) => {
        const client = await connected(host);
        await new Promise((resolve) => setTimeout(resolve, 3));
        client.end();
      },
    ],
  ])("closes the far side when a client closes %s", async (_, visit) => {
    const ended: string[] = [];
    const { address } = await pod("us-west-2", (socket) => {
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      socket.on("end", () => {
        ended.push(text);
        socket.end();
      });
    });
    await visit(address);
    await eventually(
      () => ended.length,
      (count) => count === 1,
      3000,
    );
    expect(["", "hello"]).toContain(ended[0]);
  });

  it("serves a hundred visitors that close at once to a server that takes one connection at a time", async () => {
    let busy = false;
    let served = 0;
    const queue: net.Socket[] = [];
    const next = () => {
      const socket = busy ? undefined : queue.shift();
      if (socket === undefined) return;
      busy = true;
      socket.on("data", (chunk: Buffer) => socket.write(chunk));
      if (socket.readableEnded) socket.end(); // it closed while it waited for its turn
      socket.on("end", () => socket.end());
      socket.on("close", () => {
        served++;
        busy = false;
        next();
      });
      socket.resume();
    };
    const { address } = await pod("us-west-2", (socket) => {
      socket.pause();
      queue.push(socket);
      next();
    });
    for (let i = 0; i < 100; i++) (await connected(address)).destroy();
    const client = connect(address);
    client.write("still there?");
    expect(String(await once(client, "data"))).toBe("still there?");
    expect(served).toBe(100);
  });

  it("leaves a half-closed side open as a router does: what the far side still says arrives", async () => {
    const { address } = await pod("us-west-2", (socket) => {
      socket.on("end", () => {
        setTimeout(() => socket.write("late "), 100);
        setTimeout(() => socket.end("words"), 200);
      });
      socket.resume();
    });
    const client = connect(address);
    let heard = "";
    client.on("data", (chunk: Buffer) => {
      heard += chunk.toString();
    });
    client.end("done");
    await once(client, "end");
    expect(heard).toBe("late words");
  });

  it("keeps a connection open that one side has half-closed and the other has not", async () => {
    const { address, sockets } = await pod("us-west-2", (socket) => socket.resume());
    const client = connect(address);
    client.end();
    await eventually(
      () => sockets.size,
      (count) => count === 1,
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(sockets.size).toBe(1);
    [...sockets][0]!.end("bye");
    expect(String(await once(client, "data"))).toBe("bye");
  });

  it("resets a server that writes to a client that is gone", async () => {
    let failed = 0;
    const { address, sockets } = await pod("us-west-2", (socket) => {
      const timer = setInterval(() => socket.write("tick"), 10);
      socket.on("error", () => failed++).on("close", () => clearInterval(timer));
      socket.resume();
    });
    (await connected(address)).destroy();
    await eventually(() => sockets.size === 0 && failed === 1, Boolean, 3000);
  });

  it("keeps no descriptor after a thousand connections that were closed", async () => {
    const { address } = await pod("us-west-2", (socket) => {
      socket.on("end", () => socket.end());
      socket.resume();
    });
    await (await connected(address)).destroy();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = descriptors();
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(Array.from({ length: 50 }, () => connected(address)));
      for (const [index, client] of clients.entries()) index % 3 === 0 ? client.resetAndDestroy() : client.destroy();
    }
    await eventually(descriptors, (count) => count <= before + 3, 5000);
  });

  it("refuses at a pod whose target refuses, and connects again once it listens", async () => {
    const { address, server } = await pod("us-west-2", (socket) => socket.end("hello"));
    const { port } = server.address() as net.AddressInfo;
    const code = () =>
      new Promise<string>((resolve) => {
        const socket = connect(address);
        socket.once("connect", () => resolve("connected"));
        socket.once("error", (error: NodeJS.ErrnoException) => resolve(String(error.code)));
      });
    expect(await code()).toBe("connected");
    server.close();
    await eventually(code, (result) => result === "ECONNREFUSED", 3000);
    server.listen(port, "127.0.0.1");
    await eventually(code, (result) => result === "connected", 3000);
  });

  it("hangs at a pod whose target hangs", async () => {
    const { address } = await pod("us-west-2", (socket) => socket.pause());
    const client = connect(address);
    client.write("anybody?");
    const quiet = new Promise((resolve) => setTimeout(() => resolve("quiet"), 500));
    expect(await Promise.race([once(client, "data"), once(client, "close"), quiet])).toBe("quiet");
  });

  describe("whose path is impaired", () => {
    afterEach(() => network.impair("paris", "eu-west-3", undefined));
    const echo = async (client: net.Socket) => {
      const began = performance.now();
      client.write("k");
      await once(client, "data");
      return performance.now() - began;
    };
    const session = async () => connected((await pod("eu-west-3", (socket) => socket.pipe(socket))).address, "paris");

    it("takes the given round trip, and the measured one again", async () => {
      const client = await session();
      expect(await echo(client)).toBeLessThan(100);
      await network.impair("paris", "eu-west-3", { rttMs: 300 });
      expect(await echo(client)).toBeGreaterThanOrEqual(299);
      await network.impair("eu-west-3", "paris", undefined); // either way round is the same path
      expect(await echo(client)).toBeLessThan(100);
    });

    it("is late by up to the jitter, and never out of order", async () => {
      const client = await session();
      await network.impair("paris", "eu-west-3", { jitterMs: 40 });
      let heard = "";
      client.on("data", (chunk: Buffer) => {
        heard += chunk.toString();
      });
      const text = Array.from({ length: 200 }, (_, i) => `${i} `);
      for (const word of text) {
        client.write(word);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await eventually(
        () => heard.length,
        (length) => length === text.join("").length,
        5000,
      );
      expect(heard).toBe(text.join(""));
    });

    it("waits for a retransmission when a segment is lost, and loses nothing", async () => {
      const client = await session();
      await echo(client);
      await network.impair("paris", "eu-west-3", { lossShare: 0.3 });
      const times: number[] = [];
      for (let i = 0; i < 12; i++) times.push(await echo(client));
      expect(Math.max(...times)).toBeGreaterThanOrEqual(200); // TCP's shortest retransmission timer
      expect(Math.min(...times)).toBeLessThan(100);
    });

    it("passes nothing while it is cut, and everything afterwards", async () => {
      const client = await session();
      await echo(client);
      await network.impair("paris", "eu-west-3", { cut: true });
      const answer = once(client, "data");
      client.write("k");
      const quiet = new Promise((resolve) => setTimeout(() => resolve("quiet"), 400));
      expect(await Promise.race([answer, quiet])).toBe("quiet");
      await network.impair("paris", "eu-west-3", undefined);
      expect(String(await answer)).toBe("k");
    });

    it("leaves other paths alone, and names the places when one is unknown", async () => {
      await network.impair("paris", "eu-west-3", { cut: true });
      const { address } = await pod("eu-west-3", (socket) => socket.pipe(socket));
      expect(await echo(await connected(address, "tokyo"))).toBeGreaterThan(100);
      await expect(network.impair("atlantis", "eu-west-3", { cut: true })).rejects.toThrow(
        /use a city or a region .*paris/,
      );
    });
  });
});

import net from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { join } from "../../local/network/delay-line.ts";
import { cities, Geography } from "../../local/network/geography.ts";
import { type Group, route } from "../../local/network/routing.ts";

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

  it("sends the dial's rest to the next group", () => {
    const groups = [group("near", { dial: 30 }), group("middle")];
    expect([go(groups, 0, 0.29), go(groups, 0, 0.31)]).toEqual(["near", "middle"]);
  });

  it("passes a group by whose endpoints are dead or without weight", () => {
    expect(go([group("near", { endpoints: [endpoint("a", { healthy: false })] }), group("far")])).toBe("far");
    expect(go([group("near", { endpoints: [endpoint("a", { weight: 0 })] }), group("far")])).toBe("far");
  });

  it("ignores dials when it fails over", () => {
    expect(go([group("near", { dial: 0 }), group("far", { endpoints: [endpoint("a", { healthy: false })] })])).toBe(
      "near",
    );
  });

  it("fails open to the nearest group when nobody is healthy", () => {
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
  it("knows an address's place: a client's city, an edge's and a pod's region", () => {
    expect(geography.placeOf(geography.locations.sydney!)).toMatchObject({
      name: "sydney",
      region: "ap-southeast-2",
      lastMileMs: 6,
    });
    expect(geography.placeOf(geography.edgeAddress("eu-west-3", 1)).region).toBe("eu-west-3");
    expect(geography.placeOf(geography.podAddress("ap-northeast-1", 0)).region).toBe("ap-northeast-1");
    expect(geography.placeOf("127.0.0.1")).toEqual({ region: "us-west-2", lastMileMs: 0 });
  });

  it("adds up round trips, the same both ways", () => {
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

describe("join", () => {
  /** client ⇄ relay(join) ⇄ server */
  async function through(rttMs: number, serve: (socket: net.Socket) => void) {
    const listen = (server: net.Server) =>
      new Promise<number>((resolve) =>
        server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port)),
      );
    const server = net.createServer({ allowHalfOpen: true }, serve);
    const target = await listen(server);
    const relay = net.createServer({ allowHalfOpen: true }, (client) =>
      join(client, net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true }), rttMs),
    );
    const port = await listen(relay);
    const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    return { client, close: () => [client.destroy(), server.close(), relay.close()] };
  }

  it("carries every byte in order, half-closes included, no sooner than the way is long", async () => {
    const { client, close } = await through(40, (socket) => socket.pipe(socket));
    const began = performance.now();
    const sent = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));
    const received: Buffer[] = [];
    let firstAt = 0;
    client.on("data", (chunk) => {
      firstAt ||= performance.now() - began;
      received.push(chunk);
    });
    client.end(sent);
    await new Promise((resolve) => client.on("end", resolve));
    expect(Buffer.concat(received).equals(sent)).toBe(true);
    expect(firstAt).toBeGreaterThanOrEqual(39);
    close();
  });

  it("passes a reset on", async () => {
    const { client, close } = await through(5, (socket) => {
      socket.on("data", () => socket.resetAndDestroy());
    });
    client.write("x");
    const code = await new Promise((resolve) =>
      client.on("error", (error: NodeJS.ErrnoException) => resolve(error.code)),
    );
    expect(code).toBe("ECONNRESET");
    close();
  });
});

import net from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { Neighbours, probeFrom } from "../../edge/agent/neighbours.ts";
import { neighboursOf } from "../../schemas/neighbours.ts";
import type { EdgePlace } from "../../schemas/snapshot.ts";

const regions = ["ap-northeast-1", "eu-west-3", "us-west-2"];
const place = (id: string, region: string): EdgePlace => ({ id, region, address: `127.0.0.${id.length}` });
const anyFleet = fc
  .uniqueArray(fc.record({ id: fc.string({ minLength: 1, maxLength: 6 }), region: fc.constantFrom(...regions) }), {
    selector: ({ id }) => id,
    minLength: 1,
    maxLength: 12,
  })
  .map((list) => list.map(({ id, region }) => place(id, region)));

describe("whom an edge watches", () => {
  it("is always every other edge of its region, and one of each other region, in whatever order they come", () => {
    fc.assert(
      fc.property(anyFleet, fc.nat(), (fleet, index) => {
        const self = fleet[index % fleet.length]!;
        const watched = neighboursOf(self, fleet);
        expect(watched).toEqual(neighboursOf(self, fleet.toReversed()));
        for (const region of regions) {
          const there = fleet.filter((one) => one.region === region && one.id !== self.id);
          const chosen = watched.filter((one) => one.region === region);
          expect(chosen.length).toBe(region === self.region ? there.length : Math.min(1, there.length));
        }
      }),
    );
  });

  it("differs from edge to edge, so that each edge of a region is watched from others", () => {
    const fleet = regions.flatMap((region) =>
      [1, 2, 3, 4, 5, 6].map((number) => place(`i-${region}-${number}`, region)),
    );
    const far = fleet.flatMap((self) => neighboursOf(self, fleet).filter(({ region }) => region !== self.region));
    expect(new Set(far.map(({ id }) => id)).size).toBeGreaterThan(fleet.length / 2);
  });
});

describe("an edge accuses", () => {
  const fleet = [place("a", "us-west-2"), place("b", "us-west-2"), place("c", "eu-west-3")];
  const silent = new Set<string>();
  const make = () => {
    const asked: string[] = [];
    const byAddress = new Map(fleet.map(({ id, address }) => [address, id]));
    const neighbours = new Neighbours(fleet[0]!, async (address) => {
      asked.push(address);
      return !silent.has(byAddress.get(address)!);
    });
    return { neighbours, asked };
  };
  const rounds = async (neighbours: Neighbours, count: number) => {
    for (let round = 0; round < count; round++) {
      neighbours.tick(8443);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  fleet.forEach((one, index) => Object.assign(one, { address: `127.0.0.${index + 1}` }));
  afterEach(() => silent.clear());

  it("one that answered before and twice does not now, until it answers again", async () => {
    const { neighbours } = make();
    neighbours.watch(fleet);
    await rounds(neighbours, 1);
    silent.add("b");
    await rounds(neighbours, 1);
    expect(neighbours.accused).toEqual([]);
    await rounds(neighbours, 1);
    expect(neighbours.accused).toEqual(["b"]);
    neighbours.watch(fleet.toReversed());
    expect(neighbours.accused).toEqual(["b"]);
    silent.clear();
    await rounds(neighbours, 1);
    expect(neighbours.accused).toEqual([]);
  });

  it("nobody that it never reached, and nobody when it reaches none: the fault may be its own", async () => {
    silent.add("b");
    const { neighbours } = make();
    neighbours.watch(fleet);
    await rounds(neighbours, 5);
    expect(neighbours.accused).toEqual([]);
    silent.clear();
    await rounds(neighbours, 1);
    for (const id of ["b", "c"]) silent.add(id);
    await rounds(neighbours, 5);
    expect(neighbours.accused).toEqual([]);
  });

  it("nobody that it watches no more", async () => {
    const { neighbours, asked } = make();
    neighbours.watch(fleet);
    await rounds(neighbours, 1);
    silent.add("b");
    await rounds(neighbours, 3);
    neighbours.watch(fleet.filter(({ id }) => id !== "b"));
    asked.length = 0;
    await rounds(neighbours, 1);
    expect([neighbours.accused, asked]).toEqual([[], ["127.0.0.3"]]);
  });
});

describe("a question through an edge", () => {
  const servers: net.Server[] = [];
  afterEach(() => servers.splice(0).forEach((server) => void server.close()));
  const listen = async (answer: (socket: net.Socket) => void): Promise<number> => {
    const server = net.createServer((socket) => answer(socket.on("error", () => {})));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as net.AddressInfo).port;
  };

  it.each([
    ["answers", (socket: net.Socket) => socket.once("data", () => socket.end("ok\n")), true],
    ["says something else", (socket: net.Socket) => socket.once("data", () => socket.end("HTTP/1.1 400\r\n")), false],
    ["closes", (socket: net.Socket) => socket.once("data", () => socket.end()), false],
    ["resets", (socket: net.Socket) => socket.once("data", () => socket.resetAndDestroy()), false],
    ["accepts and says nothing", (socket: net.Socket) => socket.resume(), false],
  ] as const)("that %s is taken for %3$s", async (_, answer, forwards) => {
    const port = await listen(answer as (socket: net.Socket) => void);
    expect(await probeFrom("127.0.0.1")("127.0.0.1", port)).toBe(forwards);
  });

  it("that does not listen is taken for false, and a fault of this edge for nothing", async () => {
    const port = await listen(() => {});
    await new Promise((resolve) => servers.pop()!.close(resolve));
    expect(await probeFrom("127.0.0.1")("127.0.0.1", port)).toBe(false);
    expect(await probeFrom("192.0.2.1")("127.0.0.1", port)).toBeUndefined();
  });
});

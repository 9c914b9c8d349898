import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readNamesBelow, readRoutesBelow, readTree } from "../../control/publishing/trees.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { manifestOf } from "../../core/publishing/commit.ts";
import { type RenderedBucket, renderBucket, renderManifest, renderObject } from "../../core/publishing/render.ts";
import { bucketOf, digitsOf, everyBucket } from "../../core/routes/buckets.ts";
import { snapshotLimits } from "../../schemas/limits.ts";
import { type Route, RouteObject } from "../../schemas/snapshot.ts";

const route = (slot: number, tenantId = `t${slot}`, generation = 1): Route => ({
  slot,
  tenantId,
  protocol: "tls",
  generation,
  hostnames: [`${tenantId}.example.com`],
  backends: { "us-west-2": ["10.0.0.1:3080"] },
});

/** A third of a leaf each: trees of a few dozen routes are as deep as those of a hundred thousand tenants. */
const large = (value: Route) => canonicalJson(value) + " ".repeat(snapshotLimits.leafBytesMax / 3);

/** What a region's bucket has. */
class Objects {
  readonly #objects = new Map<string, RouteObject>();
  reads = 0;
  put({ objects }: RenderedBucket): void {
    for (const { hash, text } of objects) this.#objects.set(hash, RouteObject.parse(JSON.parse(text)));
  }
  read = async (hash: string): Promise<RouteObject> => {
    this.reads++;
    const object = this.#objects.get(hash);
    if (object === undefined) throw new Error(`${hash} is missing`);
    return object;
  };
}

describe("renderBucket", () => {
  it("always gives the same objects, whatever the order of routes", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...Array(30).keys()], { minLength: 30 }), (slots) => {
        const shuffled = slots.map((slot) => route(slot));
        const ordered = shuffled.toSorted((a, b) => a.slot - b.slot);
        for (const textOf of [canonicalJson, large])
          expect(renderBucket(shuffled, [], textOf)).toEqual(renderBucket(ordered, [], textOf));
      }),
    );
  });

  it("gives canonical JSON, which an object that was read gives again", () => {
    const { objects } = renderBucket([route(2), route(1)]);
    expect(objects.map(({ text }) => text)).toEqual([`${canonicalJson({ routes: [route(1), route(2)] })}\n`]);
    for (const { text, object } of renderBucket(
      [...Array(30).keys()].map((slot) => route(slot)),
      [],
      large,
    ).objects)
      if ("parts" in object) expect(renderObject(object)).toBe(text);
  });

  it("always gives what a full rendering gives, when a publication reads and changes only a part", async () => {
    const tenants = fc.uniqueArray(fc.nat(60), { maxLength: 45 });
    const changes = fc.array(fc.record({ slot: fc.nat(60), remove: fc.boolean() }), { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(tenants, changes, async (slots, list) => {
        const objects = new Objects();
        const before = slots.map((slot) => route(slot));
        const first = renderBucket(before, [], large);
        objects.put(first);
        const changed = new Set(list.map(({ slot }) => slot));
        const wanted = new Map(list.map(({ slot, remove }) => [slot, remove ? [] : [route(slot, `t${slot}`, 2)]]));
        const replaced = (routes: Route[]) => [
          ...routes.filter(({ slot }) => !changed.has(slot)),
          ...[...wanted.values()].flat(),
        ];
        const read = await readTree(
          objects.read,
          first.hash,
          [...changed].map((slot) => digitsOf(`t${slot}`)),
        );
        const part = renderBucket(replaced(read.routes), read.unread, large);
        const whole = renderBucket(replaced(before), [], large);
        expect([part.hash, part.bytes]).toEqual([whole.hash, whole.bytes]);
        objects.put({ ...part, objects: part.objects.filter(({ hash }) => !read.hashes.includes(hash)) });
        const bySlot = (a: Route, b: Route) => a.slot - b.slot;
        expect((await readRoutesBelow(objects.read, part.hash)).sort(bySlot)).toEqual(replaced(before).sort(bySlot));
        const names = whole.objects.map(({ hash }) => hash);
        expect(new Set(await readNamesBelow(objects.read, part.hash))).toEqual(new Set(names));
      }),
      { numRuns: 300 },
    );
  });

  it("puts every leaf below its limit, however many routes there are", () => {
    const { objects } = renderBucket(
      [...Array(200).keys()].map((slot) => route(slot)),
      [],
      large,
    );
    for (const { object } of objects) if ("routes" in object) expect(object.routes.length).toBeLessThanOrEqual(2);
  });

  it("holds tenants in one leaf that have all digits in common", () => {
    const [one, ...others] = [...Array(9).keys()].map((slot) => route(slot, "same"));
    const { objects } = renderBucket([one!, ...others], [], large);
    expect(objects).toHaveLength(1 + snapshotLimits.digits);
    expect(objects[0]!.object).toMatchObject({ routes: { length: 9 } });
  });
});

describe("a change among 100,000 tenants", () => {
  const ids = [...Array(100_000).keys()].map((index) => `customer-${index}`).filter((id) => bucketOf(id) === 5);
  const backends = { "us-west-2": ["10.0.1.15:3080"], "eu-west-3": ["10.1.1.15:3080"] };
  const routesOf = (tenantId: string, slot: number, generation: number): Route[] => [
    { ...route(20_000 + slot, tenantId, generation), backends, hostnames: [`${tenantId}.tenants.example.com`] },
    { ...route(slot, tenantId, generation), protocol: "ssh", port: 10_000 + slot, hostnames: [], backends },
  ];
  const before = ids.flatMap((id, slot) => routesOf(id, slot, 1));
  const commit = (first: string) => ({
    generation: 123_456,
    incarnation: "0b0e8e0e-1d8a-4e56-a8a4-4a5c0c3a9d5f",
    routes: everyBucket.map(() => first),
    structure: { default: first, overrides: {} },
  });
  const keyId = "arn:aws:kms:us-west-2:123456789012:key/0b0e8e0e-1d8a-4e56-a8a4-4a5c0c3a9d5f";

  it("moves at most 100 KB to each edge and region, the manifest included, and reads two objects", async () => {
    const objects = new Objects();
    const first = renderBucket(before);
    objects.put(first);
    const sizes = [];
    for (const id of ids.slice(0, 64)) {
      objects.reads = 0;
      const read = await readTree(objects.read, first.hash, [digitsOf(id)]);
      expect(objects.reads).toBe(2);
      const now = read.routes.map((old) => (old.tenantId === id ? { ...old, generation: 2 } : old));
      const { hash, objects: all } = renderBucket(now, read.unread);
      const moved = all.filter((object) => !read.hashes.includes(object.hash));
      expect(moved).toHaveLength(2);
      const manifest = renderManifest(manifestOf("c1", commit(hash), [keyId]));
      const signed = JSON.stringify({ manifest, signatures: { [keyId]: "A".repeat(88) } });
      sizes.push(moved.reduce((sum, { text }) => sum + text.length, signed.length));
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(100_000);
    expect(first.bytes).toBeGreaterThan(500_000); // one object would move as much
  });
});

describe("digitsOf", () => {
  it("spreads similar names over every digit", () => {
    const same = [...Array(64_000).keys()].map((index) => `tenant-${index}`).filter((id) => bucketOf(id) === 0);
    for (let at = 0; at < snapshotLimits.digits; at++) {
      const counts = Map.groupBy(same, (id) => digitsOf(id)[at]!);
      expect(counts.size).toBe(16);
      for (const [, ids] of counts) expect(ids.length / (same.length / 16)).toBeLessThan(1.6);
    }
  });
});

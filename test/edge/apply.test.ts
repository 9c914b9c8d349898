import { describe, expect, it } from "vitest";
import { type Applied, nothingApplied, planApply, unknown } from "../../edge/agent/snapshot/apply.ts";
import type { Trees } from "../../edge/agent/snapshot/trees.ts";
import type { Manifest } from "../../schemas/snapshot.ts";

const manifest = (generation: number, ...routes: string[]) => ({ generation, routes }) as Manifest;
/** Buckets by their first object: the hashes of their leaves, by digits. */
const trees = (buckets: Record<string, Record<string, string>>): Trees =>
  new Map(
    Object.entries(buckets).map(([first, leaves]) => [first, { leaves: new Map(Object.entries(leaves)), names: [] }]),
  );
const rendering = "nearest first";

const first = planApply(nothingApplied, manifest(1, "a", "b"), trees({ a: { "": "a" }, b: { "": "b" } }), rendering);

describe("a manifest", () => {
  it("is served leaf by leaf, at first with nothing to compare them with", () => {
    expect(first.changed).toEqual([
      { leaf: "0/", hash: "a", last: undefined },
      { leaf: "1/", hash: "b", last: undefined },
    ]);
    expect(first.after).toMatchObject({ manifest: { generation: 1 }, renderedFor: rendering });
  });

  it("changes only leaves of which it has another hash, compared with the last one", () => {
    const { changed, gone, after } = planApply(
      first.after,
      manifest(2, "a", "c"),
      trees({ a: { "": "a" }, c: { "": "c" } }),
      rendering,
    );
    expect([changed, gone]).toEqual([[{ leaf: "1/", hash: "c", last: "b" }], []]);
    expect(after.leaves).toEqual(
      new Map([
        ["0/", "a"],
        ["1/", "c"],
      ]),
    );
  });

  it("gives up the leaves of a bucket that is divided, and takes its parts", () => {
    const { changed, gone } = planApply(
      first.after,
      manifest(2, "a", "d"),
      trees({ a: { "": "a" }, d: { "0": "d0", f: "df" } }),
      rendering,
    );
    expect(changed.map(({ leaf }) => leaf)).toEqual(["1/0", "1/f"]);
    expect(gone).toEqual(["1/"]);
  });

  it("renders everything again when the structure says otherwise what all routes depend on", () => {
    const { changed } = planApply(
      first.after,
      manifest(2, "a", "b"),
      trees({ a: { "": "a" }, b: { "": "b" } }),
      "another",
    );
    expect(changed).toEqual([
      { leaf: "0/", hash: "a", last: undefined },
      { leaf: "1/", hash: "b", last: undefined },
    ]);
  });

  it("that failed in the middle leaves leaves of which nobody knows what their files say", () => {
    const next = manifest(2, "a", "c");
    const { during } = planApply(first.after, next, trees({ a: { "": "a" }, c: { "": "c" } }), rendering);
    expect(during).toMatchObject({ manifest: { generation: 1 }, renderedFor: rendering });
    expect(during.leaves).toEqual(
      new Map([
        ["0/", "a"],
        ["1/", unknown],
      ]),
    );
    // Also the snapshot that takes the change back writes them all.
    const back = planApply(
      during as Applied,
      manifest(3, "a", "b"),
      trees({ a: { "": "a" }, b: { "": "b" } }),
      rendering,
    );
    expect(back.changed).toEqual([{ leaf: "1/", hash: "b", last: undefined }]);
  });

  it("that failed in the middle of a division is still known to have had the leaf that is gone", () => {
    const divided = trees({ a: { "": "a" }, d: { "0": "d0" } });
    const { during } = planApply(first.after, manifest(2, "a", "d"), divided, rendering);
    const again = planApply(during, manifest(2, "a", "d"), divided, rendering);
    expect([again.changed, again.gone]).toEqual([[{ leaf: "1/0", hash: "d0", last: undefined }], ["1/"]]);
    // Its files may be gone: a snapshot that takes the division back writes them again.
    const back = planApply(during, manifest(3, "a", "b"), trees({ a: { "": "a" }, b: { "": "b" } }), rendering);
    expect([back.changed, back.gone]).toEqual([[{ leaf: "1/", hash: "b", last: undefined }], ["1/0"]]);
  });
});

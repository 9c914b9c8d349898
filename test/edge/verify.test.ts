import { generateKeyPairSync, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { renderManifest } from "../../core/publishing/render.ts";
import { RefusedError, verifyManifest } from "../../edge/agent/snapshot/verify.ts";
import { parseKeys, sha256 } from "../../schemas/signed.ts";
import { type Manifest, signedMessage } from "../../schemas/snapshot.ts";

const pair = generateKeyPairSync("ed25519");
const other = generateKeyPairSync("ed25519");
const spki = (key: typeof pair.publicKey) => key.export({ format: "der", type: "spki" }).toString("base64");
const keys = parseKeys({ one: spki(pair.publicKey) });
const known = { cell: "c1", keys, generation: 5, incarnation: "x" };

const manifest = (changes: Partial<Manifest> = {}): Manifest => ({
  cell: "c1",
  generation: 6,
  incarnation: "x",
  keyIds: ["one"],
  routes: Array.from({ length: 64 }, () => sha256("routes")),
  structure: { default: sha256("structure"), overrides: {} },
  ...changes,
});
const signed = (value: Manifest, key = pair.privateKey, id = "one") => {
  const text = renderManifest(value);
  return JSON.stringify({
    manifest: text,
    signatures: { [id]: sign(null, Buffer.from(signedMessage(sha256(text))), key).toString("base64") },
  });
};

describe("verifyManifest", () => {
  it("takes what a known key signed", () => {
    expect(verifyManifest(signed(manifest()), known)).toEqual(manifest());
  });

  it("takes either of two keys while one is rotated", () => {
    const both = parseKeys({ one: spki(pair.publicKey), two: spki(other.publicKey) });
    expect(verifyManifest(signed(manifest(), other.privateKey, "two"), { ...known, keys: both }).generation).toBe(6);
  });

  it.each([
    ["signed by an unknown key", signed(manifest(), other.privateKey, "two")],
    ["signed by another key under a known name", signed(manifest(), other.privateKey)],
    ["not signed", JSON.stringify({ manifest: renderManifest(manifest()), signatures: {} })],
    ["for another cell", signed(manifest({ cell: "c2" }))],
    ["older than what is applied", signed(manifest({ generation: 4 }))],
    ["of another incarnation", signed(manifest({ incarnation: "y" }))],
    ["cut short", signed(manifest()).slice(0, -10)],
    ["empty", ""],
  ])("refuses one that is %s", (_, text) => {
    expect(() => verifyManifest(text, known)).toThrow(RefusedError);
  });

  it("refuses one with any bit of its content flipped", () => {
    const text = signed(manifest());
    const inner = JSON.parse(text) as { manifest: string; signatures: Record<string, string> };
    fc.assert(
      fc.property(fc.nat(inner.manifest.length - 1), fc.nat(6), (at, bit) => {
        const flipped = String.fromCharCode(inner.manifest.charCodeAt(at) ^ (1 << bit));
        const changed = inner.manifest.slice(0, at) + flipped + inner.manifest.slice(at + 1);
        expect(() => verifyManifest(JSON.stringify({ ...inner, manifest: changed }), known)).toThrow(RefusedError);
      }),
    );
  });
});

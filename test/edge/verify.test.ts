import { generateKeyPairSync, sign } from "node:crypto";
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
  edges: [],
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
  it("accepts a manifest that a known key signed", () => {
    expect(verifyManifest(signed(manifest()), known)).toEqual(manifest());
  });

  it("accepts either of two keys during a rotation", () => {
    const both = parseKeys({ one: spki(pair.publicKey), two: spki(other.publicKey) });
    expect(
      verifyManifest(signed(manifest({ keyIds: ["two"] }), other.privateKey, "two"), { ...known, keys: both })
        .generation,
    ).toBe(6);
  });

  it.each([
    ["signed by an unknown key", signed(manifest(), other.privateKey, "two")],
    ["signed by another key under a known name", signed(manifest(), other.privateKey)],
    ["not signed", JSON.stringify({ manifest: renderManifest(manifest()), signatures: {} })],
    ["for another cell", signed(manifest({ cell: "c2" }))],
    ["older than the applied one", signed(manifest({ generation: 4 }))],
    ["of another incarnation", signed(manifest({ incarnation: "y" }))],
    ["cut short", signed(manifest()).slice(0, -10)],
    ["empty", ""],
  ])("refuses a manifest that is %s", (_, text) => {
    expect(() => verifyManifest(text, known)).toThrow(RefusedError);
  });

  it("refuses a manifest with any bit flipped, inside or outside the signed text", () => {
    const text = Buffer.from(signed(manifest()));
    const accepted: string[] = [];
    for (let at = 0; at < text.length; at++)
      for (let bit = 0; bit < 8; bit++) {
        text[at]! ^= 1 << bit;
        try {
          verifyManifest(text.toString("utf8"), known);
          accepted.push(`byte ${at}, bit ${bit}`);
        } catch (error) {
          if (!(error instanceof RefusedError)) throw error;
        }
        text[at]! ^= 1 << bit;
      }
    expect(accepted).toEqual([]);
  });

  it("refuses a manifest with two known signatures if one is wrong", () => {
    const both = parseKeys({ one: spki(pair.publicKey), two: spki(other.publicKey) });
    const twice = manifest({ keyIds: ["one", "two"] });
    const [first, second] = [signed(twice), signed(twice, other.privateKey, "two")].map(
      (text) => JSON.parse(text) as { manifest: string; signatures: Record<string, string> },
    );
    const envelope = (signatures: object) => JSON.stringify({ manifest: first!.manifest, signatures });
    const good = envelope({ ...first!.signatures, ...second!.signatures });
    expect(verifyManifest(good, { ...known, keys: both }).generation).toBe(6);
    const wrong = envelope({ ...first!.signatures, two: first!.signatures.one });
    expect(() => verifyManifest(wrong, { ...known, keys: both })).toThrow(RefusedError);
    expect(() => verifyManifest(JSON.stringify(first), { ...known, keys: both })).toThrow(/other keys than it names/);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MultiMap } from "../../edge/agent/routes/multi-map.ts";

describe("MultiMap", () => {
  it("always has the values that a map of sets has, and says which keys came and went", () => {
    const values = ["a", "b", "c"].map((name) => ({ name }));
    const step = fc.record({
      isAdd: fc.boolean(),
      key: fc.integer({ min: 0, max: 2 }),
      value: fc.constantFrom(...values),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const map = new MultiMap<number, { name: string }>();
        const model = new Map<number, Set<{ name: string }>>();
        for (const { isAdd, key, value } of steps) {
          const before = model.get(key)?.size ?? 0;
          const set = model.get(key) ?? new Set();
          if (isAdd) set.add(value);
          else set.delete(value);
          if (set.size > 0) model.set(key, set);
          else model.delete(key);
          const changes = isAdd ? before === 0 : before === 1 && set.size === 0;
          expect(isAdd ? map.add(key, value) : map.delete(key, value)).toBe(changes);
          expect(new Set(map.get(key))).toEqual(set);
          expect(map.has(key)).toBe(set.size > 0);
        }
        expect([...map.keys()].sort()).toEqual([...model.keys()].sort());
        expect(map.size).toBe(model.size);
      }),
    );
  });

  it("has no set for a key that has one value again", () => {
    const map = new MultiMap<string, object>();
    const [first, second] = [{}, {}];
    map.add("a", first);
    map.add("a", second);
    map.delete("a", first);
    expect(map.get("a")).not.toBeInstanceOf(Set);
    expect([...map.get("a")]).toEqual([second]);
  });
});

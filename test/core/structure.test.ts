import { describe, expect, it } from "vitest";
import {
  advanceStructure,
  type StructureFacts,
  type StructureState,
  structureOf,
} from "../../core/publishing/structure.ts";
import { structureLimits } from "../../schemas/limits.ts";
import { structureRefused } from "../../schemas/report.ts";
import { edge, now } from "../fixtures/edge.ts";

describe("advanceStructure", () => {
  const edges = [edge("a"), edge("b"), edge("c", { region: "eu-west-3" })];
  const facts: StructureFacts = {
    wanted: "new",
    live: { default: "old", overrides: {} },
    generation: 8,
    state: undefined,
    edges,
    degraded: [],
    bakeMs: 10_000,
    now,
  };
  const having = (structure: string, ...ids: string[]) =>
    edges.map((one) => (ids.includes(one.edgeId) ? { ...one, structure } : one));
  /** The facts `later` ms after the state is published, when each edge runs the structure it was given. */
  const after = (state: StructureState, later: number): StructureFacts => {
    const live = structureOf(state);
    const given = edges.map((one) => ({
      ...one,
      structure: live.overrides[one.edgeId] ?? live.default,
      reportedAt: now + later,
    }));
    return { ...facts, state, live, edges: given, now: now + later };
  };

  it("goes from one edge to its region to all edges, and watches each stage from its publication", () => {
    let state = advanceStructure(facts)!;
    const stages = [state];
    for (let at = 0; state.stage !== "done"; at += 5000) {
      expect(
        advanceStructure({ ...facts, state, now: now + at }) === undefined || state.stage !== stages.at(-1)!.stage,
      ).toBe(true);
      const next = advanceStructure(after(state, at));
      if (next !== undefined && next.stage !== state.stage) stages.push(next);
      state = next ?? state;
      expect(at).toBeLessThan(100_000);
    }
    expect(stages.map(({ stage, edges: ids }) => [stage, ids])).toEqual([
      ["canary", ["a"]],
      ["region", ["a", "b"]],
      ["all", []],
      ["done", []],
    ]);
  });

  it("returns all edges to one structure when a rebuilt ledger knows of no rollout, and then begins anew", () => {
    for (const wanted of ["new", "old"]) {
      const state = advanceStructure({ ...facts, wanted, live: { default: "old", overrides: { a: "other" } } })!;
      expect(structureOf(state)).toEqual({ default: "old", overrides: {} });
      const next = advanceStructure({ ...facts, wanted, state });
      expect(next?.stage).toBe(wanted === "new" ? "canary" : undefined);
    }
  });

  const canary = { ...advanceStructure(facts)!, publishedAt: now - 20_000 };
  const live = structureOf(canary);
  it.each([
    [
      "refuses it",
      having("old").map((one) =>
        one.edgeId === "a" ? { ...one, nack: { generation: 8, reason: `${structureRefused}bad directive` } } : one,
      ),
      [],
      /refuses.*bad directive/,
    ],
    ["does not serve with it", having("new", "a").map((one) => ({ ...one, serving: false })), [], /does not serve/],
    ["is degraded with it", having("new", "a"), ["a"], /degraded/],
  ])("rolls back when an edge %s, and does not try the same structure again", (_, given, degraded, reason) => {
    const back = advanceStructure({ ...facts, state: canary, live, edges: given, degraded })!;
    expect(back).toMatchObject({ stage: "returned", reason: expect.stringMatching(reason) });
    expect(structureOf(back)).toEqual({ default: "old", overrides: {} });
    expect(advanceStructure({ ...facts, state: back })).toBeUndefined();
    expect(advanceStructure({ ...facts, state: back, wanted: "newer" })).toMatchObject({
      stage: "canary",
      target: "newer",
      from: "old",
    });
  });

  it("tries the same structure again when an operator says so", () => {
    const back: StructureState = { ...canary, stage: "returned", edges: [], reason: "a refuses it" };
    expect(advanceStructure({ ...facts, state: back })).toBeUndefined();
    const next = advanceStructure({ ...facts, state: { ...back, again: true } });
    expect(next).toMatchObject({ stage: "canary", target: "new", from: "old", edges: ["a"] });
    expect(next).not.toHaveProperty("again");
  });

  it.each([
    ["is terminated", [edge("a", { terminated: true, structure: "old" }), ...edges.slice(1)]],
    ["is given up", [edge("a", { givenUp: true, structure: "old" }), ...edges.slice(1)]],
    ["was forgotten", edges.slice(1)],
  ])("takes another canary when the canary %s, and condemns nobody", (_, given) => {
    const next = advanceStructure({ ...facts, state: canary, live, edges: given });
    expect(next).toMatchObject({ stage: "canary", target: "new", from: "old", edges: ["b"] });
    expect(next).not.toHaveProperty("publishedAt");
  });

  it("waits for another canary as long as no edge is ready", () => {
    expect(advanceStructure({ ...facts, state: canary, live, edges: [] })).toBeUndefined();
    const busy = edges.slice(1).map((one) => ({ ...one, serving: false }));
    expect(advanceStructure({ ...facts, state: canary, live, edges: busy })).toBeUndefined();
  });

  it("goes on with the rest of a region when one of its edges is terminated", () => {
    const region: StructureState = { ...canary, stage: "region", edges: ["a", "b"] };
    const given = having("new", "b").map((one) => (one.edgeId === "a" ? { ...one, terminated: true as const } : one));
    expect(advanceStructure({ ...facts, state: region, live: structureOf(region), edges: given })).toMatchObject({
      stage: "all",
    });
  });

  it("gives a silent canary the time in which EC2 may say that it is terminated", () => {
    const silent = (ms: number) => {
      const published = { ...canary, publishedAt: now - ms };
      const given = edges.map((one) => (one.edgeId === "a" ? { ...one, reportedAt: now - ms } : one));
      return advanceStructure({ ...facts, state: published, live, edges: given });
    };
    expect(silent(structureLimits.silentMs)).toBeUndefined();
    expect(silent(structureLimits.silentMs + 1)).toMatchObject({
      stage: "returned",
      reason: expect.stringContaining("stopped"),
    });
  });

  it("hears only edges that were given the target, and only what they say of it", () => {
    const nack = (generation: number) => ({ generation, reason: `${structureRefused}bad directive` });
    const heard = (id: string, generation: number) =>
      advanceStructure({
        ...facts,
        state: { ...canary, publishedIn: 8, publishedAt: now - 1 },
        live,
        edges: edges.map((one) => (one.edgeId === id ? { ...one, nack: nack(generation) } : one)),
      });
    expect(heard("b", 8)).toBeUndefined();
    expect(heard("a", 7)).toBeUndefined();
    expect(heard("a", 8)).toMatchObject({ stage: "returned" });
  });

  it("does not roll back for S3 errors, a draining edge, or an edge that was degraded before", () => {
    const trouble = having("new", "a").map((one) => ({ ...one, nack: { generation: 0, reason: "S3 answered 503" } }));
    expect(advanceStructure({ ...facts, state: canary, live, edges: trouble })).toMatchObject({ stage: "region" });
    const draining = having("new", "a").map((one) =>
      one.edgeId === "a"
        ? { ...one, serving: false, drain: { phase: "leaving" as const, since: now, sessions: 3 } }
        : one,
    );
    expect(advanceStructure({ ...facts, state: canary, live, edges: draining })).toMatchObject({ stage: "region" });
    const degradedBefore = { ...canary, degradedBefore: ["a"] };
    expect(
      advanceStructure({ ...facts, state: degradedBefore, live, edges: having("new", "a"), degraded: ["a"] }),
    ).toMatchObject({ stage: "region" });
  });
});

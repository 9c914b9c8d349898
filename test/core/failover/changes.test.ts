import { describe, expect, it } from "vitest";
import { type Change, changesBetween, refusedEndpoint, uncertain } from "../../../core/failover/changes.ts";
import { decide } from "../../../core/failover/decide.ts";
import { endpoint, facts, group, now, oregon, two, twoSeen, weightsIn } from "../../fixtures/failover.ts";

describe("an endpoint because of which AWS refuses a list", () => {
  const change: Change = {
    kind: "update",
    region: oregon,
    arn: "arn",
    dial: 100,
    onlyDial: false,
    endpoints: ["i-1", "i-2"].map((edgeId) => ({ edgeId, weight: 128 })),
  };
  const refusal = (name: string, message: string) => Object.assign(new Error(message), { name });

  it.each([
    ["InvalidArgumentException", "The endpoint i-2 is not valid", "i-2"],
    ["EndpointNotFoundException", "i-1 not found", "i-1"],
    ["InvalidArgumentException", "i-1 and i-2 are not valid", undefined],
    ["InvalidArgumentException", "the dial is not valid", undefined],
    ["ThrottlingException", "i-2", undefined],
  ])("%s: %s", (name, message, edgeId) => {
    expect(refusedEndpoint(change, refusal(name, message))).toBe(edgeId);
  });

  it("is left out of the next list", () => {
    const observed = { groups: [group(oregon, [endpoint("a"), endpoint("b"), endpoint("alb")])] };
    const instances = [{ edgeId: "alb", state: "refused", at: now }];
    expect(weightsIn(decide(facts({ edges: two, observed, instances })))).toEqual({ a: 128, b: 128 });
  });
});

describe("a write whose answer never came", () => {
  it("may have taken effect or not: the least of both counts", () => {
    const change: Change = {
      kind: "update",
      region: oregon,
      arn: `arn:${oregon}`,
      dial: 50,
      onlyDial: false,
      endpoints: [{ edgeId: "a", weight: 7 }],
    };
    expect(uncertain(twoSeen, change).groups[0]).toMatchObject({ dial: 50, endpoints: [{ weight: 7 }, { weight: 0 }] });
    expect(
      changesBetween(
        {
          groups: [
            {
              region: oregon,
              dial: 100,
              endpoints: [
                { edgeId: "a", weight: 128 },
                { edgeId: "b", weight: 128 },
              ],
            },
          ],
        },
        twoSeen,
      ),
    ).toEqual([]);
  });
});

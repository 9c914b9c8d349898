import { describe, expect, it } from "vitest";
import { FailoverInput } from "../../schemas/workflows.ts";

describe("an input of failover", () => {
  it.each([
    [{ cell: "c1" }, true],
    [{ instance: { "instance-id": "i-0123456789abcdef0", state: "terminated" } }, true],
    [{ instance: { "instance-id": "i-0123456789abcdef0", "instance-action": "stop" } }, true],
    [{}, false],
    [{ at: "2026-11-28T14:04:31Z" }, false],
    [{ instance: { "instance-id": "i-0123456789abcdef0" } }, false],
    [{ instance: { "instance-id": "../x", state: "terminated" } }, false],
    [{ instance: { "instance-id": "i-0123456789abcdef0", state: "asleep" } }, false],
  ])("%j is taken: %s", (input, isTaken) => {
    expect(FailoverInput.safeParse(input).success).toBe(isTaken);
  });
});

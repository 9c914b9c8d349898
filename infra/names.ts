/** Physical names: `landfall-<stage>-<what>`, the same in the lock, in the console and in the CLI. */
export const named = (what: string) => `${$app.name}-${$app.stage}-${what}`;

/** `us-west-2` as part of a logical name: `UsWest2`. */
export const pascal = (region: string) =>
  region
    .split("-")
    .map((part) => part[0].toUpperCase() + part.slice(1))
    .join("");

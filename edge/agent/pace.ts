/** Lets other work run between the parts of a long one. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** To await after each part: goes on at once until the parts together took `mostMs`. */
export function pace(mostMs = 10): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < mostMs) return;
    await turn();
    since = performance.now();
  };
}

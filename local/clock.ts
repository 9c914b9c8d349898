/** Timers of any length. Node's own timers fire at once if the delay is over 24.8 days. */
const longest = 2 ** 31 - 1;

export interface Timer {
  clear(): void;
}

export function after(ms: number, run: () => void): Timer {
  let handle: NodeJS.Timeout;
  const arm = (rest: number) => {
    handle = setTimeout(() => (rest > longest ? arm(rest - longest) : run()), Math.min(Math.max(rest, 0), longest));
  };
  arm(ms);
  return { clear: () => clearTimeout(handle) };
}

/** Resolves when somebody wants the program to end: a signal, or a parent that is gone. */
export function untilStopped(): Promise<string> {
  return new Promise((resolve) => {
    // `on`, not `once`: a second Ctrl-C while stopping must not kill us half-way.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(signal));
    if (process.connected) process.on("disconnect", () => resolve("disconnect"));
  });
}

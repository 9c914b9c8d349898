/** Resolves when the program must end: at a signal, or when the parent process is gone. */
export function untilStopped(): Promise<string> {
  return new Promise((resolve) => {
    // `on`, not `once`: a second Ctrl-C while stopping must not kill us half-way.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve(signal));
    if (process.connected) process.on("disconnect", () => resolve("disconnect"));
  });
}

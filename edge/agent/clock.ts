/** Milliseconds since 1970, counted from the start of this process. Changes of the system clock don't affect it. */
export const clock = (): number => performance.timeOrigin + performance.now();

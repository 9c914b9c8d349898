/** Milliseconds since 1970 by the clock as it was when this process began: it never jumps, whatever is done to the machine's. */
export const clock = (): number => performance.timeOrigin + performance.now();

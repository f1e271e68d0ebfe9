// A clock for limits and paces: a machine that sets its clock after boot must not end its tasks an hour early.

/**
 * Milliseconds since the epoch as this process saw it at its start, counted on without jumps. For what a person or a
 * server reads, take `Date.now()`.
 */
export const steadyNow = (): number => performance.timeOrigin + performance.now();

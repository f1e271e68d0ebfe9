// The processor time that this process has used: what a busy machine cannot stretch, unlike the time on the clock.

/** Returns a function that tells how many milliseconds of processor time were used since. */
export function cpuTime(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
}

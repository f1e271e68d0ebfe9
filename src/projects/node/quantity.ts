// Amounts as Kubernetes writes them: "4000m" of a processor, "16384Mi" of memory. Pure.
const MEBI = 1_048_576;

/** Thousandths of a processor. */
export const millicores = (cores: number): string => `${whole(cores * 1_000)}m`;

/** In mebibytes throughout: in Gi, a tenth of a small disk would be nothing. */
export const mebibytes = (bytes: number): string => `${whole(bytes / MEBI)}Mi`;

/** Rounded down, never more than there is; what is no number counts as none. */
const whole = (amount: number): number => (Number.isFinite(amount) ? Math.max(0, Math.floor(amount)) : 0);

// Writes amounts as Kubernetes does: "4000m" of a processor, "16384Mi" of memory. Pure.
import { MIB } from "../../lib/size.ts";

/** Thousandths of a processor. */
export const millicores = (cores: number): string => `${whole(cores * 1_000)}m`;

/** Always in mebibytes: in Gi, a tenth of a small disk would be 0. */
export const mebibytes = (bytes: number): string => `${whole(bytes / MIB)}Mi`;

/** Rounded down, so never more than there is; 0 for what is not a finite number. */
const whole = (amount: number): number => (Number.isFinite(amount) ? Math.max(0, Math.floor(amount)) : 0);

// Amounts as Kubernetes writes them: "4000m" of a processor, "16384Mi" of memory. Pure.
import { MIB } from "../../lib/size.ts";

/** Thousandths of a processor. */
export const millicores = (cores: number): string => `${whole(cores * 1_000)}m`;

/** In mebibytes throughout: in Gi, a tenth of a small disk would be nothing. */
export const mebibytes = (bytes: number): string => `${whole(bytes / MIB)}Mi`;

/** Rounded down, never more than there is; what is no number counts as none. */
const whole = (amount: number): number => (Number.isFinite(amount) ? Math.max(0, Math.floor(amount)) : 0);

// Warns of control planes that are reached over plain HTTP, and refuses root over them where the owner wants
// that.
import { crossesInClear } from "../lib/address.ts";
import { hours } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { Plane } from "../config/option.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import type { Log } from "../platform/log.ts";

/** Returns why require_tls refuses root over this URL; undefined where it does not. */
export function tlsVeto(url: string | undefined, requireTls: boolean): string | undefined {
  if (!requireTls || url === undefined || !crossesInClear(url)) return undefined;
  return "the control plane is reached over plain HTTP, and the owner of this machine gives root only over https (require_tls)";
}

/** Returns the warnings for the planes that run. */
export function clearTextWarnings(
  urls: Readonly<Record<Plane, string | undefined>>,
  { require_tls: requireTls }: Pick<Settings, "require_tls">,
): readonly string[] {
  const effect = requireTls
    ? "require_tls refuses root tasks, root terminals and package changes until then"
    : "require_tls=true would refuse root over it until then";
  const texts: Readonly<Record<Plane, string>> = {
    noderax: `the node's token and all commands cross the network in clear text, and can be changed on the way. Use https; ${effect}`,
    caravanserai:
      "what is to run here crosses the network in clear text, and can be changed on the way. Use https, or a network that is yours alone",
  };
  const settings: Readonly<Record<Plane, string>> = { noderax: "api_url", caravanserai: "server_url" };
  return (["noderax", "caravanserai"] as const).flatMap((plane) => {
    const url = urls[plane];
    if (url === undefined || !crossesInClear(url)) return [];
    return [`${settings[plane]} http://${URL.parse(url)?.host}: ${texts[plane]}`];
  });
}

/** Logs the warnings now and every day until `signal` aborts. Resolves at once without warnings. */
export async function repeatWarnings(
  warnings: readonly string[],
  { registry, log }: { readonly registry: LoopRegistry; readonly log: Log },
  signal: AbortSignal,
): Promise<void> {
  if (warnings.length === 0) return;
  await loop(
    { name: "clear-text", every: hours(24), retry: retry.local },
    async (_, report) => {
      for (const warning of warnings) log.warn("agent", warning);
      report.note("plain HTTP is warned of every day");
    },
    registry,
    signal,
  );
}

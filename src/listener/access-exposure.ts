// Warns of settings that admit more callers to the listener than its owner may expect. Pure.
import type { AccessSettings } from "./access.ts";
import { isLoopback, parseIpAddress, parseNetwork } from "../lib/address.ts";

export interface ExposureSettings extends AccessSettings {
  readonly listen_address?: string | undefined;
  readonly listen_tls_cert?: string | undefined;
}

/** The widest private networks: 10.0.0.0/8 and fc00::/7. */
const WIDEST = { 4: 8, 6: 7 } as const;

/** Returns warnings, each naming its setting. A listener on loopback only warns about users of this machine. */
export function exposure(settings: ExposureSettings): readonly string[] {
  const { listen_address, listen_allow = [], listen_local, listen_token, listen_tls_cert } = settings;
  const address = parseIpAddress(listen_address ?? "::");
  const local =
    listen_local === "everybody"
      ? [
          "listen_local everybody: every user of this machine reads all logs and reaches every container's every port",
        ]
      : [];
  if (address !== undefined && isLoopback(address)) return local;
  const wide = listen_allow.filter((text) => {
    const network = parseNetwork(text);
    return network !== undefined && network.prefix < WIDEST[network.family];
  });
  const open = wide.map(
    (text) =>
      `listen_allow ${text}: all who reach this machine reach every container's every port, without a token`,
  );
  const warnings = [...local, ...open];
  if (listen_token !== undefined && listen_tls_cert === undefined)
    warnings.push("listen_token without listen_tls_cert: the token crosses the network in clear text");
  return warnings;
}

// Reports the progress of the installation to the install record of a bootstrap token; without a token it reports nothing.
import { createHttp } from "../../../control/http.ts";
import { publicApi, withoutApiPrefix } from "../../../control/noderax-api.ts";
import { trustedAuthorities } from "../../../control/trust.ts";
import type { Config } from "../../../config/load.ts";
import { reportStage } from "../../../identity/install-record.ts";

export interface InstallReport {
  /** One try; never rejects. */
  tell(stage: string, percent: number, message: string): Promise<void>;
}

/** Creates the reporter of an install record; without a token or an API address it reports nothing. */
export function createInstallReport(
  { settings }: Pick<Config, "settings">,
  token: string | undefined,
  signal: AbortSignal,
): InstallReport {
  const { api_url: url, api_tls_ca_file: authorities, request_timeout: timeout } = settings;
  if (token === undefined || url === undefined) return { tell: async () => {} };
  const http = createHttp({
    baseUrl: withoutApiPrefix(url),
    authorities: () => trustedAuthorities(authorities),
  });
  const api = publicApi(http, timeout);
  return { tell: (stage, percent, message) => reportStage(api, token, { stage, percent, message }, signal) };
}

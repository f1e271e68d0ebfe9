// What a package does beside laying down files, in POSIX sh. It enrolls nothing, and starts nothing that was never set up.
import { dirname } from "node:path";
import { places } from "../../src/install/places.ts";
import { SHARED_TEXTS } from "./files.ts";

const UNIT = "noderax-agent.service";
const HAS_SYSTEMD = "[ -d /run/systemd/system ]";
/** A service that does not start is no reason to leave a package half installed. */
const START = `systemctl restart ${UNIT} ||
    echo 'The agent does not run. See why:  noderax-agent logs --agent --tail 50'`;

/** What `noderax-agent install` made and would hide the package's: the unit, the link, completions and manual page. */
const REPLACED = `for file in /etc/systemd/system/${UNIT} ${SHARED_TEXTS.join(" ")}; do
  if [ -f "$file" ] && head -n 2 "$file" | grep -qi 'written by .noderax-agent'; then rm -f "$file"; fi
done
rmdir ${directories().join(" ")} 2>/dev/null || true
link=/usr/local/bin/noderax-agent
if [ "$(readlink $link)" = /opt/noderax-agent/noderax-agent ]; then rm -f $link; fi`;

/** The directories that are made for the texts, without that of all manual pages. */
function directories(): readonly string[] {
  const leaves = SHARED_TEXTS.map((path) => path.slice(0, path.lastIndexOf("/")));
  const above = leaves
    .map((path) => path.slice(0, path.lastIndexOf("/")))
    .filter((path) => !path.endsWith("/man"));
  return [...leaves, ...above];
}

/** The directories that a path lies in, the innermost first. */
const above = (path: string, count: number): readonly string[] =>
  count === 0 ? [] : [dirname(path), ...above(dirname(path), count - 1)];

/** After the first installation of the package: goes on where an earlier one, of any kind, has left an identity. */
export const afterInstall = `${REPLACED}
if ${HAS_SYSTEMD}; then
  systemctl daemon-reload
  if [ -f /var/lib/noderax-agent/agent_identity.json ]; then
    systemctl enable --quiet ${UNIT}
    ${START}
  else
    echo 'Make this machine a node:  noderax-agent install --api-url URL --email ADDRESS'
  fi
fi`;

/** After an upgrade, or when a removed package comes back. Tasks and containers go on over the restart. */
export const afterUpgrade = `${REPLACED}
if ${HAS_SYSTEMD}; then
  systemctl daemon-reload
  if systemctl is-enabled --quiet ${UNIT}; then
    ${START}
  fi
fi`;

/** Before the package is removed. The service stays enabled, for the package may come back. */
export const beforeRemove = `if ${HAS_SYSTEMD}; then
  systemctl stop ${UNIT} || true
  systemctl stop noderax.slice || true
fi`;

/** After it is removed. /opt is the system's, though dpkg takes it away with the last that lies in it. */
export const afterRemove = `[ -d /opt ] || mkdir -m 755 /opt
if ${HAS_SYSTEMD}; then
  systemctl daemon-reload
  systemctl reset-failed ${UNIT} 2>/dev/null || true
fi`;

/** Configuration, identity, output of tasks, and the user that `install` made: with the home that it gives. */
export const purge = `rm -f /etc/systemd/system/multi-user.target.wants/${UNIT}
rm -rf /etc/noderax-agent /var/lib/noderax-agent ${places.dropIns}
rm -f ${places.packageDropIn}
rmdir ${above(places.packageDropIn, 3).join(" ")} 2>/dev/null || true
if [ "$(getent passwd noderax | cut -d : -f 6)" = /var/lib/noderax ]; then userdel noderax || true; fi
rm -rf /var/lib/noderax`;

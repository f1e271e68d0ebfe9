// A package operation in a systemd unit of its own, as on most machines: apt works in a Debian that systemd runs.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes } from "../../src/lib/duration.ts";
import { bootNode, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(10));

/** A repository with one package, whose script takes some seconds. Debian's smallest system has no tool that lists one. */
const REPOSITORY = `mkdir -p /srv/repository /tmp/build/DEBIAN; cd /tmp
printf 'Package: nxslow\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: a <a@example.com>\\nDescription: Slow\\n' >build/DEBIAN/control
printf '#!/bin/sh\\ntouch /run/began; for i in 1 2 3 4 5 6 7 8; do sleep 0.5; done; touch /run/ended\\n' >build/DEBIAN/postinst
chmod 755 build/DEBIAN/postinst
dpkg-deb -b build /srv/repository/nxslow.deb; cd /srv/repository
{
  dpkg-deb -f nxslow.deb; echo 'Filename: ./nxslow.deb'; echo "Size: $(stat -c %s nxslow.deb)"
  echo "SHA256: $(sha256sum nxslow.deb | cut -d' ' -f1)"
} >Packages
echo 'deb [trusted=yes] copy:/srv/repository ./' >/etc/apt/sources.list; apt-get update`;

describe.skipIf(missing !== undefined)(`a package operation (needs ${missing ?? "nothing more"})`, () => {
  test("that is cancelled while dpkg works is left to finish, and reported then", async () => {
    await using node = await bootNode({
      stateDirectory: "/var/lib/noderax-agent",
      settings: { task_poll_interval: "300ms" },
    });
    await node.sh(REPOSITORY);
    await node.agent("sandbox", "root-access", "web", "operational");
    await node.until(
      "/opt/noderax-agent/noderax-agent sandbox root-access web | grep 'operational is in force'",
    );
    const installing = node.sh(
      "/opt/noderax-agent/noderax-agent sandbox packages web install nxslow --json || true",
    );
    await node.until("[ -e /run/began ]");
    const [task] = JSON.parse(await node.agent("task", "list", "--json")) as { id: string }[];
    if (task === undefined) throw new Error("there is no task");
    await node.cancel(task.id);
    expect(JSON.parse(await installing)).toMatchObject({
      status: "cancelled",
      result: { installed: [{ name: "nxslow", version: "1.0" }] },
    });
    expect(await node.sh("dpkg --audit; ls /run/ended")).toBe("/run/ended");
  });
});

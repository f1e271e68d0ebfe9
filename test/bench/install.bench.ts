// How long an installation, a restart and a reboot take under systemd, how exposed the unit is, and how big it all is.
import { readFileSync } from "node:fs";
import { SCRIPT } from "../support/install-world.ts";
import { binary } from "../support/binary.ts";
import { AGENT, type Machine, bootMachine, missing } from "../support/systemd.ts";
import type { Bench } from "./bench.ts";

/** As somebody who has just downloaded it. */
const DOWNLOADED = "/root/noderax-agent";
const REPETITIONS = 5;

/** Times `measure` on a machine with a sandbox and the executable, whose agent is not installed. */
async function onMachine(measure: (machine: Machine) => Promise<number[]>): Promise<number[]> {
  if (missing !== undefined) throw new Error(`needs ${missing}`);
  await using machine = await bootMachine();
  await machine.sh(`mv ${AGENT} ${DOWNLOADED} && rmdir /opt/noderax-agent`);
  await machine.write(
    "/etc/systemd/system/sandbox.service",
    `[Service]\nExecStart=${DOWNLOADED} sandbox --json --port 8080 --data /var/lib/sandbox\n[Install]\nWantedBy=multi-user.target\n`,
  );
  await machine.sh("systemctl enable --quiet --now sandbox");
  await machine.until(`${DOWNLOADED} sandbox nodes`);
  return await measure(machine);
}

/** Resolves with the milliseconds from the start of install.sh until it says that the node is online. */
async function install(machine: Machine): Promise<number> {
  const { token } = JSON.parse(
    await machine.run([DOWNLOADED, "sandbox", "install-token", "web", "--json"]),
  ) as { token: string };
  const command = `bash -s -- --binary ${DOWNLOADED} --api-url http://127.0.0.1:8080 --bootstrap-token ${token}`;
  const script = readFileSync(SCRIPT, "utf8");
  return await timed(() => machine.run(["sh", "-c", command], script));
}

const onNode = (measure: (machine: Machine) => Promise<number>, repetitions = REPETITIONS) =>
  onMachine(async (machine) => {
    await install(machine);
    const samples: number[] = [];
    for (let repetition = 0; repetition < repetitions; repetition++) samples.push(await measure(machine));
    return samples;
  });

async function timed(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await act();
  return performance.now() - started;
}

/** Milliseconds of the machine's monotonic clock when the agent last wrote that its session is online. */
async function lastOnline(machine: Machine): Promise<number> {
  const rows = await machine.sh("journalctl --unit=noderax-agent --output=json --lines=20");
  const online = rows
    .split("\n")
    .map((row) => JSON.parse(row) as { MESSAGE?: unknown; __MONOTONIC_TIMESTAMP: string })
    .findLast(({ MESSAGE }) => typeof MESSAGE === "string" && MESSAGE.includes('"event":"online"'));
  return Number(online?.__MONOTONIC_TIMESTAMP ?? Number.NaN) / 1_000;
}

/** From the stop of the old process until the session of the new one is online. */
async function downtime(machine: Machine): Promise<number> {
  await machine.sh("noderax-agent restart");
  const property = "--property=ActiveExitTimestampMonotonic";
  const stopped = Number(await machine.sh(`systemctl show ${property} --value noderax-agent`)) / 1_000;
  return (await lastOnline(machine)) - stopped;
}

export default [
  {
    name: "install.sh with a local executable, until online",
    unit: "ms",
    run: () =>
      onMachine(async (machine) => {
        const samples: number[] = [];
        for (let repetition = 0; repetition < REPETITIONS; repetition++) {
          samples.push(await install(machine));
          await machine.run([DOWNLOADED, "uninstall", "--purge"]);
          // The next installation enrolls under the same name.
          await machine.sh("systemctl stop sandbox; rm -r /var/lib/sandbox; systemctl start sandbox");
          await machine.until(`${DOWNLOADED} sandbox nodes`);
        }
        return samples;
      }),
  },
  {
    name: "install.sh again, nothing to change",
    unit: "ms",
    run: () => onNode((machine) => install(machine)),
  },
  { name: "downtime of a restart", unit: "ms", run: () => onNode(downtime) },
  {
    name: "shutdown of the machine with the service",
    unit: "ms",
    run: () =>
      onNode(async (machine) => {
        const took = await timed(() => machine.shutDown());
        await machine.boot();
        await machine.until("noderax-agent status");
        return took;
      }),
  },
  {
    name: "exposure by systemd-analyze security",
    unit: "of 10",
    limit: 2.5,
    run: () =>
      onNode(async (machine) => {
        const text = await machine.sh("systemd-analyze security --no-pager noderax-agent | tail -1");
        return Number(/level for \S+: ([\d.]+)/.exec(text)?.[1] ?? Number.NaN);
      }, 1),
  },
  {
    name: "size of an installation",
    unit: "MB",
    run: () =>
      onNode(async (machine) => {
        const places = "/opt/noderax-agent /etc/noderax-agent /var/lib/noderax-agent";
        return Number((await machine.sh(`du -scb ${places} | tail -1`)).split("\t")[0]) / 1e6;
      }, 1),
  },
  {
    name: "size of the download, compressed",
    unit: "MB",
    run: () => Promise.resolve([Bun.gzipSync(readFileSync(binary), { level: 9 }).length / 1e6]),
  },
] satisfies Bench[];

// The fullest real disk is the one that is told; what is no disk, or may hang, is not even asked.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { createDiskMeter, diskUsage, fullest } from "../../../src/metrics/disk.ts";
import type { Filesystem } from "../../../src/metrics/machine.ts";
import { diskMounts, parseMountinfo } from "../../../src/metrics/mounts.ts";
import { turn } from "../../support/until.ts";
import { disk, machineOf, text } from "./fixture.ts";

const mountsOf = (name: string) => diskMounts(parseMountinfo(text(name, "/proc/self/mountinfo")));

test.each([
  // A space in a mount point; nfs is not asked.
  ["centos-7", ["/", "/boot", "/srv/My Backups"]],
  // Read-only for the agent alone (ProtectSystem=); no snaps, loops, cdrom, sshfs, cifs, overlays; a bind mount once.
  ["ubuntu-22-docker-host", ["/", "/data", "/boot/efi"]],
  ["alpine-3.20", ["/", "/boot"]],
  ["raspberry-pi-4", ["/", "/boot/firmware"]],
  // Subvolumes and a volume of Kubernetes once; the upper of two stacked mounts; no ceph, gluster, lustre.
  [
    "two-sockets-rhel-8",
    ["/", "/boot", "/tank", "/tank/vm", "/var/lib/pgsql", "/var/lib/kubelet/pods/1/volumes/pvc-1/mount"],
  ],
  // An overlay is the disk where there is no other sight of it; not what the engine binds into /etc.
  ["container-cgroup-v2", ["/", "/var/lib/shop"]],
  ["container-cgroup-v1", ["/"]],
  ["container-lxcfs", ["/"]],
  ["firecracker-6.18", ["/"]],
])("the disks of %s", (name, expected) => {
  expect(mountsOf(name)).toEqual(expected);
});

test("of two mounts on one point, the upper one is seen", () => {
  const mounts = parseMountinfo(text("two-sockets-rhel-8", "/proc/self/mountinfo"));
  const points = mounts.filter((mount) => mount.mountPoint === "/var/lib/pgsql");
  expect(points.map((mount) => mount.device)).toEqual(["253:8", "253:9"]);
  const covered = [...mounts, { ...points[1], mountPoint: "/var/lib/pgsql", type: "tmpfs", device: "0:99" }];
  expect(diskMounts(covered as typeof mounts)).not.toContain("/var/lib/pgsql");
});

test("a disk that is bound as a whole is named by that, not by a shorter path to a part of it", () => {
  const mounts = parseMountinfo(
    ["1 0 8:1 / /srv/data/disk rw - ext4 /dev/sdb1 rw", "2 0 8:1 /www /www rw - ext4 /dev/sdb1 rw"].join(
      "\n",
    ),
  );
  expect(diskMounts(mounts)).toEqual(["/srv/data/disk"]);
});

test("a machine with a thousand volumes is sampled by a bounded number", () => {
  const lines = Array.from({ length: 1_000 }, (_, k) => `${k} 0 0:${k} / /v/${k} rw - zfs tank/v${k} rw`);
  expect(diskMounts(parseMountinfo(lines.join("\n")))).toHaveLength(32);
});

test("escapes of mountinfo are read, unknown optional fields passed over", () => {
  const [mount] = parseMountinfo(
    "36 35 98:0 /a\\134b /mnt/x\\040y\\011z\\012\\043 rw master:1 propagate_from:2 - ext4 /dev/a\\040b rw,x=1",
  );
  expect(mount).toEqual({
    device: "98:0",
    root: "/a\\b",
    mountPoint: "/mnt/x y\tz\n#",
    type: "ext4",
    source: "/dev/a b",
    superOptions: ["rw", "x=1"],
  });
});

test("blocks reserved for root are neither used nor available, as df has it", () => {
  expect(diskUsage({ blockSize: 4_096, blocks: 1_000, free: 500, available: 450 })).toBe(52.6);
});

test("the fullest is reported by name; of equals the first", () => {
  const disks: [string, Filesystem][] = [
    ["/", disk(40)],
    ["/data", disk(91)],
    ["/srv", disk(91)],
  ];
  expect(fullest(disks)).toMatchObject({ usage: 91, mount: "/data", totalBytes: 100 * 2 ** 30 });
  expect(fullest([])).toBeUndefined();
});

test("a disk that does not answer keeps its last number, is named, and is asked once only", async () => {
  const stuck = Promise.withResolvers<Filesystem>();
  const disks: Record<string, Filesystem | Promise<Filesystem>> = { "/": disk(40), "/data": disk(70) };
  const machine = machineOf(new Map(), disks);
  let asked = 0;
  const counting = {
    ...machine,
    filesystem: (point: string) => (asked++, machine.filesystem(point)),
  };
  const meter = createDiskMeter(counting, async () => ["/", "/data"], 50);
  expect(await meter()).toMatchObject({ usage: 70, mount: "/data" });

  disks["/data"] = stuck.promise;
  expect(await meter()).toMatchObject({ usage: 70, mount: "/data", stuck: "/data" });
  const before = asked;
  expect(await meter()).toMatchObject({ usage: 70, stuck: "/data" });
  expect(asked).toBe(before);

  stuck.resolve(disk(75));
  await turn();
  disks["/data"] = disk(76);
  const answered = await meter();
  expect(answered).toMatchObject({ usage: 76, mount: "/data" });
  expect(answered).not.toHaveProperty("stuck");
});

test("an unmounted disk is forgotten", async () => {
  const disks: Record<string, Filesystem> = { "/": disk(40), "/data": disk(70) };
  const meter = createDiskMeter(machineOf(new Map(), disks), async () => ["/", "/data"], seconds(1));
  expect(await meter()).toMatchObject({ mount: "/data" });
  delete disks["/data"];
  expect(await meter()).toMatchObject({ mount: "/" });
});

// Chooses the filesystems to measure from mountinfo: local disks, each once, none that may hang.

export interface Mount {
  /** "8:1". Bind mounts and the subvolumes of a btrfs share it. */
  readonly device: string;
  /** The mounted part of the filesystem: "/" except for bind mounts and subvolumes. */
  readonly root: string;
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
  /** Of the filesystem, not of this mount: ProtectSystem= shows the agent every mount read-only. */
  readonly superOptions: readonly string[];
}

/** Reads `/proc/self/mountinfo`: `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [front = "", back] = line.split(" - ", 2);
    const [, , device, root, mountPoint] = front.split(" ");
    const [type, source, options = ""] = back?.split(" ") ?? [];
    if (device === undefined || root === undefined || mountPoint === undefined) continue;
    if (type === undefined || source === undefined) continue;
    mounts.push({
      device,
      root: unescape(root),
      mountPoint: unescape(mountPoint),
      type,
      source: unescape(source),
      superOptions: options.split(","),
    });
  }
  return mounts;
}

/** Space, tab, newline, backslash and # are written as three octal digits. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

/** Filesystems on local disks. An allow-list: a filesystem behind a network or a daemon can block the agent. */
const ON_DISK = new Set(
  "ext2 ext3 ext4 xfs btrfs zfs f2fs jfs reiserfs reiser4 nilfs2 bcachefs vfat exfat msdos ntfs ntfs3 hfs hfsplus ufs ubifs jffs2".split(
    " ",
  ),
);
/** Images in files: full by design, and their file counts on the disk below. */
const LOOP_MAJOR = 7;
/** Filesystems accepted for "/" only, where the disk is hidden: in a container or a live system. */
const ROOT_TYPES = new Set(["overlay", "aufs", "tmpfs", "rootfs", "ramfs"]);
/** Disks measured at most; a server with hundreds of datasets is measured by the first. */
const MOUNTS_MAX = 32;

/** Returns the mounts to measure, "/" first, each device once. Never empty: "/" is always included. */
export function diskMounts(mounts: readonly Mount[]): string[] {
  // A later mount on the same point hides the earlier one.
  const visible = [...new Map(mounts.map((mount) => [mount.mountPoint, mount])).values()];
  const byDevice = new Map<string, Mount>();
  for (const mount of visible) {
    if (!canFillUp(mount)) continue;
    const known = byDevice.get(mount.device);
    if (known === undefined || rank(mount) < rank(known)) byDevice.set(mount.device, mount);
  }
  const points = [...byDevice.values()].sort((a, b) => rank(a) - rank(b)).map((mount) => mount.mountPoint);
  return points.length === 0 ? ["/"] : points.slice(0, MOUNTS_MAX);
}

function canFillUp({ mountPoint, root, type, device, superOptions }: Mount): boolean {
  if (superOptions.includes("ro")) return false; // images: they are always full
  if (mountPoint === "/" && ROOT_TYPES.has(type)) return true;
  if (!ON_DISK.has(type)) return false;
  if (device.startsWith(`${LOOP_MAJOR}:`)) return false;
  // Container engines bind /etc/hosts and the like from the disk that is "/" already.
  return root === "/" || !/^\/(?:etc|dev|proc|sys|run)\//.test(mountPoint);
}

/** Returns the mount to show for a device: "/", else where it is mounted as a whole, else the shortest path. */
const rank = ({ mountPoint, root }: Mount): number =>
  mountPoint === "/" ? 0 : mountPoint.length + (root === "/" ? 0 : 10_000);

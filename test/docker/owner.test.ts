// The owner's word on a real Docker Engine: limits of containers that the control plane cannot exceed, and refused projects.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes } from "../../src/lib/duration.ts";
import { MIB } from "../../src/lib/size.ts";
import { docker, missing } from "../support/docker.ts";
import { ProjectNode } from "../support/project-node.ts";

setDefaultTimeout(minutes(3));

describe.skipIf(missing !== undefined)("the owner's limits of projects (needs Docker)", () => {
  test("are those of each container, which is killed above them while its neighbour runs", async () => {
    await using node = await ProjectNode.start({
      settings: {
        container_memory_max: "32MiB",
        container_cpu_quota: 50,
        project_pids_max: 100,
        restart_limit: 0,
      },
    });
    const hog = await node.image("dd if=/dev/zero of=/dev/null bs=256M");
    const shop = node.project("shop", [{ name: "web" }, { name: "hog", image: hog }]).apply();
    await shop.becomes("Failed");
    expect(shop.ready().message).toContain("Containers crashed: hog(exit=137, out of memory");
    const { id } = await shop.running("web");
    const { HostConfig } = JSON.parse(await docker("inspect", "--format", "{{json .}}", id)) as {
      HostConfig: Record<string, unknown>;
    };
    expect(HostConfig).toMatchObject({
      Memory: 32 * MIB,
      MemorySwap: 32 * MIB,
      CpuPeriod: 100_000,
      CpuQuota: 50_000,
      PidsLimit: 50,
    });
  });

  test("that a project exceeds fail it with the setting, and nothing of it is made", async () => {
    await using node = await ProjectNode.start({
      settings: { container_memory_max: "32MiB", project_memory_max: "64MiB" },
    });
    const shop = await node
      .project("shop", [{ name: "a" }, { name: "b" }, { name: "c" }])
      .apply()
      .becomes("Failed");
    expect(shop.ready().message).toContain("allows a project 64MiB of memory (project_memory_max)");
    expect(await shop.container("a")).toBeUndefined();
  });

  test("forbid projects, images from elsewhere and tunnels, and each refusal and the log name the setting", async () => {
    await using node = await ProjectNode.start({ settings: { allow_projects: false, allow_forward: false } });
    const shop = await node
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Failed");
    const forbidden = "web: the owner of this machine forbids projects (allow_projects)";
    expect(shop.ready().message).toBe(forbidden);
    expect(node.log.join("\n")).toContain(forbidden);
    const answer = await fetch(`http://127.0.0.1:${await node.port()}/api/v1/forward/${shop.name}/web/80`);
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain("the owner of this machine forbids tunnels (allow_forward)");
    expect(node.log.join("\n")).toContain("refused (allow_forward)");

    await using other = await ProjectNode.start({ settings: { allow_registries: ["ghcr.io"] } });
    const elsewhere = await other
      .project("shop", [{ name: "web" }])
      .apply()
      .becomes("Failed");
    expect(elsewhere.ready().message).toContain("allows images only from ghcr.io");
    expect(other.log.join("\n")).toContain("(allow_registries)");
  });
});

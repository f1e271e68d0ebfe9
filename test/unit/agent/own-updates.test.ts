// Promises of the agent's own updates: the owner's word alone makes it update itself.
import { expect, test } from "bun:test";
import { noOwnUpdates } from "../../../src/agent/own-updates.ts";

const settings = {
  state_file: "/var/lib/noderax-agent/agent_identity.json",
  update_channel_url: "https://releases.example.com",
} as const;

test("an agent updates itself only as the service, with a place, and when its owner wants it", () => {
  const service = "noderax-agent.service";
  expect(noOwnUpdates({ ...settings, update_allow: "auto" }, service)).toBeUndefined();
  for (const allow of ["off", "manual", "control-plane"] as const)
    expect(noOwnUpdates({ ...settings, update_allow: allow }, service)).toBe(`update_allow is ${allow}`);
  expect(noOwnUpdates({ ...settings, update_allow: "auto" }, undefined)).toContain("does not run as");
  const nowhere = { ...settings, update_allow: "auto", update_channel_url: undefined } as const;
  expect(noOwnUpdates(nowhere, service)).toBe("update_channel_url is not set");
});

// What the owner of a machine forbids is not made, whatever the control plane assigns.
import { expect, test } from "bun:test";
import { forbiddenByOwner } from "../../../../src/projects/plan/owner.ts";

const from = (...registries: string[]) => ({ allowProjects: true, registries });

test("without a word of the owner every image may run", () => {
  expect(forbiddenByOwner("nginx", { allowProjects: true, registries: undefined })).toBeUndefined();
});

test("no project runs where the owner forbids them, and the setting is named", () => {
  expect(forbiddenByOwner("nginx", { allowProjects: false, registries: undefined })).toContain(
    "(allow_projects)",
  );
});

test.each([
  ["nginx", ["docker.io"], true],
  ["nginx", ["docker.io/library"], true],
  ["nginx", ["DOCKER.IO/Library/"], true],
  ["someone/nginx", ["docker.io/library"], false],
  ["ghcr.io/acme/web:1", ["docker.io", "ghcr.io/acme"], true],
  ["ghcr.io/acme-evil/web:1", ["ghcr.io/acme"], false],
  ["ghcr.io.example.com/acme/web", ["ghcr.io"], false],
  ["ghcr.io/acme/web@sha256:00", ["ghcr.io"], true],
  ["localhost:5000/web", ["localhost:5000"], true],
  ["localhost:5001/web", ["localhost:5000"], false],
  ["nginx", [], false],
])("%s from %j: %p", (image, registries, allowed) => {
  const refusal = forbiddenByOwner(image, from(...registries));
  expect(refusal === undefined).toBe(allowed);
  if (!allowed) expect(refusal).toContain("(allow_registries)");
});

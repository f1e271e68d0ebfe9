// The signatures of a release: what is genuine passes, nothing else does, and other programs agree.
import { describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import {
  minisig,
  publicForms,
  publicKeyOf,
  rawSignature,
  readKey,
  sshSignature,
} from "../../../../.ci/release/sign.ts";
import { PRODUCT, type ReleaseProof, verifiedSums } from "../../../../src/install/update/signature.ts";
import { scratchDirectory } from "../../identity/scratch.ts";

const newKey = () =>
  readKey(generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }).toString());
const [root, signing, other] = [newKey(), newKey(), newKey()];
const encoded = (key: ReturnType<typeof newKey>): string => publicKeyOf(key).toString("base64");

const HASH = "a".repeat(64);
const SUMS = Buffer.from(
  `${HASH}  noderax-agent-0.2.0-linux-x64\n${"b".repeat(64)}  release-manifest.json\n`,
);
const KEYS = Buffer.from(JSON.stringify({ product: PRODUCT, keys: [encoded(other), encoded(signing)] }));
const GENUINE: ReleaseProof = {
  keys: KEYS,
  keysSignatures: `${rawSignature(other, KEYS)}\n${rawSignature(root, KEYS)}\n`,
  sums: SUMS,
  sumsSignature: minisig(signing, SUMS, `${PRODUCT} 0.2.0`),
};

const verdict = (proof: Partial<ReleaseProof>, version = "0.2.0", roots = [encoded(root)]): string => {
  try {
    return [...verifiedSums({ ...GENUINE, ...proof }, version, roots).keys()].join();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};
const keysOf = (document: unknown): Pick<ReleaseProof, "keys" | "keysSignatures"> => {
  const keys = Buffer.from(JSON.stringify(document));
  return { keys, keysSignatures: rawSignature(root, keys) };
};

test("a genuine release passes, by any root and any signing key", () => {
  expect(verifiedSums(GENUINE, "0.2.0", [encoded(newKey()), encoded(root)])).toEqual(
    new Map([
      ["noderax-agent-0.2.0-linux-x64", HASH],
      ["release-manifest.json", "b".repeat(64)],
    ]),
  );
});

describe("not genuine is", () => {
  const changed = Buffer.concat([SUMS, Buffer.from(`${"c".repeat(64)}  more\n`)]);
  test.each<[string, Partial<ReleaseProof>, string]>([
    ["a list of keys that no root has signed", { keysSignatures: rawSignature(other, KEYS) }, "no root key"],
    ["a list of keys that was changed", { keys: Buffer.concat([KEYS, Buffer.from(" ")]) }, "no root key"],
    ["a list of keys without a signature", { keysSignatures: "" }, "no root key"],
    ["a list of another product", keysOf({ product: "other", keys: [encoded(signing)] }), "cannot be read"],
    ["a list that is none", keysOf([1]), "cannot be read"],
    ["checksums that were changed", { sums: changed }, "not signed by a signing key"],
    [
      "checksums signed by the root alone",
      { sumsSignature: minisig(root, SUMS, `${PRODUCT} 0.2.0`) },
      "not signed",
    ],
    [
      "checksums signed by a key that is not on the list",
      keysOf({ product: PRODUCT, keys: [encoded(other)] }),
      "not signed by a signing key",
    ],
    [
      "a key of another length",
      keysOf({ product: PRODUCT, keys: ["AAAA", ""] }),
      "not signed by a signing key",
    ],
    ["no signature", { sumsSignature: "" }, "no prehashed signature"],
    [
      "a signature of the other form of minisign",
      { sumsSignature: GENUINE.sumsSignature.replace(/^RU/m, "RW") },
      "no prehashed signature",
    ],
    [
      "a comment that is not the signed one",
      { sumsSignature: GENUINE.sumsSignature.replace("0.2.0", "0.3.0") },
      "the comment of the signature",
    ],
    [
      "another product's checksums, signed by the same key",
      { sumsSignature: minisig(signing, SUMS, "other 0.2.0") },
      'those of "other 0.2.0"',
    ],
  ])("%s", (_, proof, why) => {
    expect(verdict(proof)).toStartWith("the release is not genuine: ");
    expect(verdict(proof)).toContain(why);
  });

  test("a valid signature of another version", () => {
    expect(verdict({}, "0.3.0")).toContain(`those of "${PRODUCT} 0.2.0", not of ${PRODUCT} 0.3.0`);
  });

  test("a name that leads out of the release", () => {
    for (const line of [`${HASH}  ../../etc/passwd`, `${HASH}  /etc/passwd`, "x", `${HASH}  a b`]) {
      const sums = Buffer.from(`${line}\n`);
      const sumsSignature = minisig(signing, sums, `${PRODUCT} 0.2.0`);
      expect(verdict({ sums, sumsSignature })).toContain("a line that is none");
    }
  });

  test("anything, for a build without root keys", () => {
    expect(verdict({}, "0.2.0", [])).toContain("this build has no release keys");
  });
});

describe("other programs", () => {
  const missing = ["minisign", "ssh-keygen", "openssl"].filter((name) => Bun.which(name) === null);

  test.skipIf(missing.length > 0)(
    "verify the same signatures (needs minisign, ssh-keygen and openssl)",
    () => {
      using directory = scratchDirectory();
      const forms = publicForms(signing);
      writeFileSync(directory.at("SHA256SUMS"), SUMS);
      writeFileSync(directory.at("SHA256SUMS.minisig"), GENUINE.sumsSignature);
      writeFileSync(directory.at("SHA256SUMS.sig"), sshSignature(signing, SUMS, "noderax-agent"));
      writeFileSync(directory.at("signers"), `release namespaces="noderax-agent" ${forms.ssh}\n`);
      const run = (command: string[]): string => {
        const { exitCode, stdout, stderr } = Bun.spawnSync(command, {
          cwd: directory.path,
          stdin: Bun.file(directory.at("SHA256SUMS")),
        });
        return `${exitCode} ${stdout.toString()}${stderr.toString()}`;
      };
      const minisign = ["minisign", "-V", "-m", "SHA256SUMS", "-P", forms.minisign];
      expect(run(minisign)).toContain(`Trusted comment: ${PRODUCT} 0.2.0`);
      expect(run(minisign)).toStartWith("0 ");
      const ssh = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "signers",
        "-I",
        "release",
        "-n",
        "noderax-agent",
        "-s",
        "SHA256SUMS.sig",
      ];
      expect(run(ssh)).toStartWith("0 Good");
      writeFileSync(
        directory.at("key.pem"),
        `-----BEGIN PUBLIC KEY-----\n${forms.pem}\n-----END PUBLIC KEY-----\n`,
      );
      writeFileSync(directory.at("raw"), Buffer.from(rawSignature(signing, SUMS), "base64"));
      const openssl = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key.pem",
        "-rawin",
        "-in",
        "SHA256SUMS",
        "-sigfile",
        "raw",
      ];
      expect(run(openssl)).toStartWith("0 ");
      writeFileSync(directory.at("SHA256SUMS"), "changed\n");
      for (const command of [minisign, ssh, openssl]) expect(run(command)).not.toStartWith("0 ");
    },
  );
});

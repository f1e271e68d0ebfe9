// The decision whether root may use a path: for any owners and permissions, never yes where another user could interfere.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { type PathStep, type TrustRules, decideTrust } from "../../src/platform/trust/decide.ts";

const [WRITABLE, STICKY] = [0o022, 0o1000];
const STRICT: TrustRules = { isOwn: () => false, passShared: false };

const owner = fc.constantFrom(0, 0, 0, 1_000, 65_534);
const mode = fc.oneof(
  fc.constantFrom(0o755, 0o700, 0o1777, 0o775, 0o777, 0o600, 0o644),
  fc.nat({ max: 0o7777 }),
);
const step = (kind: PathStep["kind"]): fc.Arbitrary<PathStep> =>
  fc.record({ path: fc.constant("/x"), kind: fc.constant(kind), uid: owner, mode });
const steps = fc
  .tuple(
    fc.array(fc.oneof({ weight: 4, arbitrary: step("directory") }, step("link")), {
      minLength: 1,
      maxLength: 6,
    }),
    fc.oneof(step("file"), step("directory"), step("link")),
    fc.boolean(),
  )
  .map(([above, last, isThere]): PathStep[] =>
    [...above, ...(isThere ? [last] : [{ ...last, kind: "missing" as const, uid: 0, mode: 0 }])].map(
      (one, n) => ({
        ...one,
        path: `/${n}`,
      }),
    ),
  );

/** Written a second time, from the point of view of an attacker who is not root. */
const canInterfere = ({ kind, uid, mode }: PathStep, isLast: boolean): boolean => {
  if (kind === "missing") return false;
  if (uid !== 0) return true;
  if (kind === "link" || (mode & WRITABLE) === 0) return false;
  return isLast || kind === "file" || (mode & STICKY) === 0;
};

describe("whether root may use a path", () => {
  test("it is trusted exactly when nobody else can change anything on the way", () => {
    fc.assert(
      fc.property(steps, (way) => {
        const isSafe = !way.some((one, n) => canInterfere(one, n === way.length - 1));
        expect(decideTrust(way, STRICT).do).toBe(isSafe ? "trust" : "refuse");
      }),
      { numRuns: 2_000 },
    );
  });

  test("shared directories may be passed, but nothing of another user's, and not at the end", () => {
    fc.assert(
      fc.property(steps, (way) => {
        const decision = decideTrust(way, { ...STRICT, passShared: true });
        const isShared = ({ kind, mode }: PathStep): boolean =>
          kind === "directory" && (mode & WRITABLE) !== 0;
        const refused = way.some(
          (one, n) =>
            (one.kind !== "missing" && one.uid !== 0) ||
            (isShared(one) && n === way.length - 1) ||
            (one.kind === "file" && (one.mode & WRITABLE) !== 0),
        );
        expect(decision.do).toBe(refused ? "refuse" : "trust");
        if (decision.do === "trust")
          expect(decision.shared).toEqual(way.filter(isShared).map(({ path }) => path));
      }),
      { numRuns: 2_000 },
    );
  });

  test("what another user made in a shared directory is never taken over", () => {
    const root = { path: "/", kind: "directory", uid: 0, mode: 0o755 } as const;
    const planted = { path: "/tmp/state", kind: "directory", uid: 7, mode: 0o700 } as const;
    const mine = { path: "/tmp/mine", kind: "directory", uid: 0, mode: 0o700 } as const;
    const below = { path: "/tmp/mine/state", kind: "directory", uid: 7, mode: 0o700 } as const;
    for (const mode of [0o777, 0o1777]) {
      const tmp = { path: "/tmp", kind: "directory", uid: 0, mode } as const;
      const rules = { isOwn: () => true, passShared: true };
      expect(decideTrust([root, tmp, planted], rules)).toMatchObject({ do: "refuse", step: planted });
      expect(decideTrust([root, tmp, mine, below], rules)).toMatchObject({ do: "take-over", steps: [below] });
    }
  });

  test("one thing that is not the agent's own refuses the whole path, whatever else is", () => {
    fc.assert(
      fc.property(steps, fc.func(fc.boolean()), (way, own) => {
        const decision = decideTrust(way, { ...STRICT, isOwn: (step) => own(step) });
        const unsafe = way.filter((one, n) => canInterfere(one, n === way.length - 1));
        if (decision.do === "take-over") expect(decision.steps).toEqual(unsafe);
        if (decision.do === "refuse") expect(own(decision.step)).toBeFalse();
        expect(decision.do === "refuse").toBe(unsafe.some((one) => !own(one)));
      }),
    );
  });

  test("what is taken over is trusted afterwards", () => {
    fc.assert(
      fc.property(steps, (way) => {
        const decision = decideTrust(way, { ...STRICT, isOwn: () => true });
        if (decision.do !== "take-over") return;
        const taken = new Set(decision.steps.map(({ path }) => path));
        const after = way.map((one) =>
          taken.has(one.path) ? { ...one, uid: 0, mode: one.mode & ~WRITABLE } : one,
        );
        expect(decideTrust(after, STRICT).do).toBe("trust");
      }),
    );
  });

  test.each([
    [{ kind: "directory", uid: 65_534, mode: 0o755 }, "chown root: /srv/app"],
    [{ kind: "file", uid: 0, mode: 0o666 }, "chmod go-w /srv/app"],
    [{ kind: "file", uid: 7, mode: 0o664 }, "chown root: /srv/app && chmod go-w /srv/app"],
    [{ kind: "link", uid: 7, mode: 0o777 }, "chown -h root: /srv/app"],
  ] as const)("the refusal of %j names the command that mends it", (found, mend) => {
    const decision = decideTrust([{ path: "/srv/app", ...found }], STRICT);
    expect(decision).toMatchObject({ do: "refuse", mend });
  });

  test("a path with a quote in it is quoted in the command", () => {
    const found = { path: "/srv/it's", kind: "file", uid: 7, mode: 0o600 } as const;
    expect(decideTrust([found], STRICT)).toMatchObject({ mend: `chown root: '/srv/it'\\''s'` });
  });
});

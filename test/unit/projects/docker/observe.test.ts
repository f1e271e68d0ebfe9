import { describe, expect, test } from "bun:test";
import { days, hours, minutes, seconds } from "../../../../src/lib/duration.ts";
import { ContainerList, type ListedContainer, parseAnswer } from "../../../../src/projects/docker/answers.ts";
import { trackEnd } from "../../../../src/projects/docker/events.ts";
import { lastLines } from "../../../../src/projects/docker/logs.ts";
import { ageAtMost } from "../../../../src/projects/docker/observe.ts";
import {
  type Details,
  missingDetails,
  observe,
  sightingsOf,
} from "../../../../src/projects/docker/observe.ts";

/** Of the steady clock, which knows nothing of Docker's times. */
const AT = hours(1_000);
const NOTHING: Details = { endings: new Map(), origins: new Map(), sightings: new Map(), ended: new Set() };

function listed(more: Record<string, unknown> = {}): ListedContainer {
  const container = {
    Id: "a".repeat(64),
    Names: ["/shop-web"],
    Image: "nginx:1",
    State: "running",
    Status: "Up 5 seconds",
    Labels: { "cara.project": "shop", "cara.service": "web", "cara.fingerprint": "f" },
    ...more,
  };
  const [parsed] = parseAnswer(ContainerList, [container]);
  if (parsed === undefined) throw new Error("nothing listed");
  return parsed;
}

const snapshot = (
  containers: readonly ListedContainer[],
  details = NOTHING,
  rest = {},
): ReturnType<typeof observe> =>
  observe({ containers, networks: [], volumes: [], images: [], at: AT, ...rest }, details);

const seen = (container: ListedContainer, details = NOTHING): unknown =>
  snapshot([container], details).projects.get("shop")?.containers[0];

describe("a container", () => {
  test("is as old as our own looks at it, whatever Docker's clock makes of that", () => {
    expect(seen(listed({ Status: "Up 3 hours" }))).toMatchObject({ since: AT });
    const first = sightingsOf(snapshot([listed()]), NOTHING);
    const later = snapshot(
      [listed({ Status: "Up Less than a second" })],
      { ...NOTHING, sightings: first },
      {
        at: AT + seconds(9),
      },
    );
    expect(later.projects.get("shop")?.containers).toMatchObject([{ since: AT }]);
  });

  test("that ended has ended when a snapshot showed that end, also one that lies in the future of our clock", () => {
    const container = listed({ State: "exited", Status: "Exited (0) Less than a second ago" });
    const ending = (finishedAt: string) => ({
      finishedAt,
      exit: { code: 0, oomKilled: false, lastLines: "", byItself: false },
    });
    const details = (finishedAt: string, sightings: Details["sightings"]): Details => ({
      ...NOTHING,
      endings: new Map([[container.Id, ending(finishedAt)]]),
      sightings,
    });
    const running = sightingsOf(snapshot([listed()]), NOTHING);
    const since = (finishedAt: string, sightings: Details["sightings"], at: number): unknown =>
      snapshot([container], details(finishedAt, sightings), { at }).projects.get("shop")?.containers[0]
        ?.since;
    expect(since("2099-01-01T00:00:00Z", running, AT + 1)).toBe(AT + 1);
    const once = snapshot([container], details("2099-01-01T00:00:00Z", running), { at: AT + 1 });
    const ended = sightingsOf(once, details("2099-01-01T00:00:00Z", running));
    expect(since("2099-01-01T00:00:00Z", ended, AT + 50)).toBe(AT + 1);
    expect(since("2001-01-01T00:00:00Z", ended, AT + 50)).toBe(AT + 50);
  });

  test("that was never started is on its network by name, since it has no id of it yet", () => {
    const Networks = { "cara-shop": { NetworkID: "", IPAddress: "" } };
    const created = listed({ State: "created", Status: "Created", NetworkSettings: { Networks } });
    const networks = [{ Id: "n1", Name: "cara-shop", Created: "", Labels: { "cara.project": "shop" } }];
    const [container] = snapshot([created], NOTHING, { networks }).projects.get("shop")?.containers ?? [];
    expect([...(container?.networks.keys() ?? [])]).toEqual(["n1"]);
  });

  test("under a name that is not one of ours has no role", () => {
    expect(seen(listed({ Names: ["/something"] }))).toMatchObject({ role: undefined });
  });

  test("is known by its own name, not by a link's", () => {
    expect(seen(listed({ Names: ["/other/alias", "/shop-web_next"] }))).toMatchObject({ role: "next" });
  });

  test.each([
    ["configured", "created"],
    ["stopped", "exited"],
    ["stopping", "removing"],
  ])("in Podman's state %s counts as %s", (State, state) => {
    expect(seen(listed({ State }))).toMatchObject({ state });
  });

  test.each([
    [{ "cara.project": "shop" }],
    [{ "cara.service": "web" }],
    [{ "cara.project": "", "cara.service": "web" }],
    [null],
  ])("with the labels %j is not ours", (Labels) => {
    const { projects, foreign } = snapshot([listed({ Labels })]);
    expect(projects.size).toBe(0);
    expect(foreign.get("shop-web")).toBe("container aaaaaaaaaaaa (nginx:1)");
  });
});

describe("what a listing does not tell", () => {
  const ended = (Status: string): ListedContainer => listed({ State: "exited", Status });
  const known = (since: number, code = 1): Details => ({
    ...NOTHING,
    endings: new Map([
      [listed().Id, { finishedAt: "x", exit: { code, oomKilled: false, lastLines: "", byItself: false } }],
    ]),
    sightings: new Map([[listed().Id, { state: "exited", finishedAt: "x", since }]]),
  });
  const isAsked = (container: ListedContainer, details = NOTHING, isRecorded = true): boolean =>
    missingDetails({ containers: [container], at: AT }, details, () => isRecorded).length > 0;

  test("is asked for of one that is not on record, so that its shape is known before it is taken over", () =>
    expect(isAsked(listed(), NOTHING, false)).toBe(true));

  test("is not asked for of one that runs", () => expect(isAsked(listed())).toBe(false));

  test("is asked for once of one that ended", () => {
    expect(isAsked(ended("Exited (1) 5 seconds ago"))).toBe(true);
    expect(isAsked(ended("Exited (1) 5 seconds ago"), known(AT - seconds(5.5)))).toBe(false);
    expect(isAsked(ended("Exited (1) About an hour ago"), known(AT - hours(1.4)))).toBe(false);
    expect(isAsked(ended("Exited (1) 3 days ago"), known(AT - days(3.4)))).toBe(false);
  });

  test("is asked for of one that is listed as running after Docker has told of its end", () => {
    const told = new Set<string>();
    const event = (Action: string) => ({ Type: "container", Action, Actor: { ID: listed().Id } });
    trackEnd(event("die"), told);
    expect(isAsked(listed(), { ...NOTHING, ended: told })).toBe(true);
    expect(isAsked(listed({ State: "paused" }), { ...NOTHING, ended: told })).toBe(false);
    trackEnd(event("start"), told);
    expect(isAsked(listed(), { ...NOTHING, ended: told })).toBe(false);
  });

  test("is asked for again of one that ended again", () => {
    expect(isAsked(ended("Exited (1) 5 seconds ago"), known(AT - minutes(2)))).toBe(true);
    expect(isAsked(ended("Exited (2) 5 seconds ago"), known(AT - seconds(5)))).toBe(true);
  });

  test("is never asked for of a stranger", () => {
    expect(isAsked(listed({ State: "exited", Status: "Exited (1) 5 seconds ago", Labels: {} }))).toBe(false);
  });
});

describe("networks and volumes", () => {
  const labels = { "cara.project": "shop" };

  test("tell whose agent has made them, as containers do, where they say it", () => {
    const ofB = { ...labels, "cara.node": "b" };
    const networks = [{ Id: "n", Name: "cara-shop", Created: "", Labels: ofB }];
    const volumes = [
      { Name: "cara-shop-data", Labels: ofB },
      { Name: "cara-shop-old", Labels: labels },
    ];
    const made = listed({ Id: "c", Labels: { ...ofB, "cara.service": "web", "cara.fingerprint": "f" } });
    const shop = snapshot([made, listed({ Id: "d" })], NOTHING, { networks, volumes }).projects.get("shop");
    expect(shop?.makers).toEqual(new Map(["c", "cara-shop-data", "n"].map((key) => [key, "b"])));
    expect(shop?.containers[0]).toMatchObject({ fingerprint: "f", made: undefined });
  });

  test("of two networks with one name the older one counts", () => {
    const networks = [
      { Id: "young", Name: "cara-shop", Created: "2026-01-02T00:00:00Z", Labels: labels },
      { Id: "old", Name: "cara-shop", Created: "2026-01-01T00:00:00Z", Labels: labels },
    ];
    expect(snapshot([], NOTHING, { networks }).projects.get("shop")?.network).toBe("old");
  });

  test("with our label and another name are left alone", () => {
    const networks = [{ Id: "n", Name: "backup", Created: "", Labels: labels }];
    const volumes = [{ Name: "precious", Labels: labels }];
    expect(snapshot([], NOTHING, { networks, volumes }).projects.size).toBe(0);
  });
});

test("images are known by tag and by digest, nameless ones not at all", () => {
  const images = [
    { RepoTags: ["nginx:1", "<none>:<none>"], RepoDigests: ["nginx@sha256:aa", "<none>@<none>"] },
    { RepoTags: [], RepoDigests: [] },
  ];
  expect([...snapshot([], NOTHING, { images }).images]).toEqual([
    "docker.io/library/nginx:1",
    "docker.io/library/nginx@sha256:aa",
  ]);
});

test.each([
  ["Up 5 seconds (healthy)", seconds(6)],
  ["Exited (137) 2 minutes ago", minutes(3)],
  ["Exited (0) Less than a second ago", seconds(1)],
  ["Up About a minute", minutes(2)],
  ["Up About an hour (Paused)", hours(2)],
  ["Up 3 hours", hours(4)],
  ["Restarting (1) 7 seconds ago", seconds(8)],
])("%s is an age", (status, most) => {
  expect(ageAtMost(status)).toBe(most);
});

test.each(["Created", "", "Dead", "Removal In Progress"])("%j tells no age", (status) => {
  expect(ageAtMost(status)).toBeUndefined();
});

describe("the last lines of a log", () => {
  const frame = (stream: number, text: string): Uint8Array => {
    const header = Buffer.alloc(8);
    header[0] = stream;
    header.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([header, Buffer.from(text)]);
  };

  test("come without frames, colours and empty ones", () => {
    const log = Buffer.concat([
      frame(1, "one\n"),
      frame(2, "\n"),
      frame(2, "\x1b[1mtwo\x1b[0m\r\n"),
      frame(1, "thr"),
    ]);
    expect(lastLines(log, true)).toBe("one | two | thr");
  });

  test("of a terminal have no frames", () =>
    expect(lastLines(Buffer.from("a\r\nb\r\n"), false)).toBe("a | b"));

  test("are three and 500 characters at most, whole ones", () => {
    expect(lastLines(Buffer.from("1\n2\n3\n4\n"), false)).toBe("2 | 3 | 4");
    const long = lastLines(Buffer.from("😀".repeat(3_000)), false);
    expect(long).toBe(`…${"😀".repeat(500)}`);
  });

  test("move no cursor", () =>
    expect(lastLines(Buffer.from("a\x1b]0;x\x07b"), false)).toBe("a\\x1b]0;x\\x07b"));

  test("cut within a frame are shown as far as they go", () => {
    expect(lastLines(frame(1, "hello world\n").subarray(0, 13), true)).toBe("hello");
  });
});

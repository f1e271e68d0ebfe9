// The control plane's clock: known from its answers, whatever our own is set to.
import { afterEach, expect, setSystemTime, test } from "bun:test";
import { createServerClock } from "../../../src/control/server-clock.ts";
import { retryAfter } from "../../../src/control/http.ts";
import { epochOf, steadyNow, wallFrom, wallNow } from "../../../src/lib/clock.ts";
import { hours, minutes, seconds } from "../../../src/lib/duration.ts";

afterEach(() => void setSystemTime());

const header = (epoch: number): string => new Date(epoch).toUTCString();
const SERVER = Date.parse("2026-03-01T12:00:00Z");

test("before an answer it is our own clock, and says that it is not known", () => {
  const clock = createServerClock();
  clock.heard(null);
  clock.heard("nonsense");
  expect(clock.isKnown()).toBe(false);
  expect(epochOf(clock.at(steadyNow()))).toBeWithin(Date.now() - 100, Date.now() + 100);
});

test.each([-hours(1), hours(1)])(
  "a server whose clock differs by %p ms is told times of its own clock",
  (by) => {
    setSystemTime(new Date(SERVER));
    const clock = createServerClock();
    clock.heard(header(SERVER + by));
    const moment = steadyNow() + minutes(3);
    expect(epochOf(clock.at(moment))).toBeWithin(
      SERVER + by + minutes(3) - 1_500,
      SERVER + by + minutes(3) + 1_500,
    );
    expect(clock.until(wallFrom(SERVER + by + minutes(15)))).toBeWithin(
      minutes(15) - 1_500,
      minutes(15) + 1_500,
    );
  },
);

test("the server's time goes on while our own clock is set back by half an hour", () => {
  setSystemTime(new Date(SERVER));
  const clock = createServerClock();
  clock.heard(header(SERVER));
  setSystemTime(new Date(SERVER - minutes(30)));
  expect(epochOf(clock.at(steadyNow()))).toBeWithin(SERVER - 1_500, SERVER + 5_000);
});

test("a clock that agrees keeps the milliseconds of our own", () => {
  const clock = createServerClock();
  clock.heard(header(epochOf(wallNow()) - seconds(2)));
  expect(Math.abs(epochOf(clock.at(steadyNow())) - Date.now())).toBeLessThan(100);
});

test("an answer that is read late does not move the server's clock, and a server that sets its own does, in time", () => {
  setSystemTime(new Date(SERVER));
  const clock = createServerClock();
  clock.heard(header(SERVER + hours(1)));
  clock.heard(header(SERVER + hours(1) - minutes(1)));
  expect(epochOf(clock.at(steadyNow()))).toBeWithin(SERVER + hours(1) - 1_500, SERVER + hours(1) + 5_000);
  for (let n = 0; n < 8; n++) clock.heard(header(SERVER - hours(1)));
  expect(epochOf(clock.at(steadyNow()))).toBeWithin(SERVER - hours(1) - 1_500, SERVER - hours(1) + 5_000);
});

test("a date to come back at is counted from the date of the answer", () => {
  const headers = new Headers({ date: header(SERVER), "retry-after": header(SERVER + seconds(90)) });
  expect(retryAfter(headers)).toBe(seconds(90));
});

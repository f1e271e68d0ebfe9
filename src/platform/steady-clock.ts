// A clock for limits and paces: a machine that sets its clock after boot must not end its tasks an hour early.
export { steadyNow } from "../lib/clock.ts";

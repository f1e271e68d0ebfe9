// The realtime session of the terminal tests, in this process: a server that keeps sessions and answers as the real one.
import * as v from "valibot";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { aborted } from "../../../src/lib/until.ts";
import type { Channel } from "../../../src/realtime/channel.ts";

type Body = Record<string, unknown> & { sessionId: string };

export interface Sent {
  readonly event: string;
  readonly body: Body;
}

export interface TestChannel extends Channel {
  /** Everything that reached the server, in order. */
  readonly sent: Sent[];
  /** Tells the agent something; a `terminal.start` makes a session of it. */
  push(event: string, body: object): void;
  /** The shell's output so far, decoded as the transcript does: frame by frame. */
  text(sessionId: string): string;
  bytes(sessionId: string): Buffer;
  frames(sessionId: string): Buffer[];
  status(sessionId: string): string | undefined;
  setStatus(sessionId: string, status: string): void;
  of(event: string, sessionId: string): Body[];
  /** How long the server delays its acks; undefined: within the same turn. */
  ackAfter: number | undefined;
  /** Called with every event before it is handled; may throw an AgentError as the session does. */
  fault: ((sent: Sent) => void) | undefined;
  /** Why an event is refused instead of being handled. */
  refuse: ((sent: Sent) => string | undefined) | undefined;
  /** Called after an event was handled, before its ack. */
  loseAck: ((sent: Sent) => boolean) | undefined;
  /** The most frames of a session that were in flight at once. */
  readonly mostInFlight: () => number;
  goOffline(): void;
  goOnline(): void;
  /** Keep nothing of the output but its length. */
  counting: boolean;
  received: number;
}

export function testChannel(): TestChannel {
  const listeners = new Map<string, ((body: unknown) => void)[]>();
  const statuses = new Map<string, string>();
  const output = new Map<string, Buffer[]>();
  let connected = true;
  let back = Promise.withResolvers<void>();
  const greeters: (() => void)[] = [];
  const inFlight = new Map<string, number>();
  let most = 0;
  const sent: Sent[] = [];

  function handle({ event, body }: Sent): object {
    const id = body.sessionId;
    const status = statuses.get(id);
    if (status === undefined)
      return { ok: false, sessionId: id, message: `Terminal session ${id} was not found.` };
    const final = status === "closed" || status === "failed";
    if (event === "terminal.output") {
      if (final) return { ok: true, sessionId: id, seq: null };
      const bytes = Buffer.from(String(body["payload"]), "base64");
      channel.received += bytes.length;
      const frames = output.get(id) ?? [];
      output.set(id, frames);
      if (!channel.counting) frames.push(bytes);
      return { ok: true, sessionId: id, seq: frames.length };
    }
    const next = { "terminal.opened": "open", "terminal.exited": "closed", "terminal.error": "failed" }[
      event
    ];
    if (!final && next !== undefined) statuses.set(id, next);
    return { ok: true, sessionId: id, status: statuses.get(id) };
  }

  const channel: TestChannel = {
    sent,
    ackAfter: undefined,
    fault: undefined,
    refuse: undefined,
    loseAck: undefined,
    counting: false,
    received: 0,
    mostInFlight: () => most,
    online: () => connected,
    async whenOnline(signal) {
      while (!channel.online() && !signal.aborted) await Promise.race([back.promise, aborted(signal)]);
    },
    async request(event, body, ack) {
      if (!connected) throw new AgentError("realtime.offline", "no session");
      const message = { event, body: body as Body };
      channel.fault?.(message);
      const id = message.body.sessionId;
      const mine = (inFlight.get(id) ?? 0) + 1;
      inFlight.set(id, mine);
      most = Math.max(most, mine);
      try {
        if (!channel.counting) sent.push(message);
        const refusal = channel.refuse?.(message);
        const answer =
          refusal === undefined ? handle(message) : { ok: false, eventType: event, message: refusal };
        if (channel.ackAfter !== undefined) await Bun.sleep(channel.ackAfter);
        if (!connected || channel.loseAck?.(message))
          throw new AgentError("realtime.lost", "the socket went");
        return v.parse(ack, answer);
      } finally {
        inFlight.set(id, (inFlight.get(id) ?? 1) - 1);
      }
    },
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
    push(event, body) {
      const sessionId = (body as Body | undefined | null)?.sessionId;
      if (event === "terminal.start" && sessionId !== undefined && !statuses.has(sessionId))
        statuses.set(sessionId, "pending");
      if (event === "terminal.stop" && sessionId !== undefined) statuses.set(sessionId, "terminating");
      for (const listener of listeners.get(event) ?? []) listener(body);
    },
    frames: (id) => output.get(id) ?? [],
    bytes: (id) => Buffer.concat(output.get(id) ?? []),
    text: (id) => (output.get(id) ?? []).map((frame) => frame.toString()).join(""),
    status: (id) => statuses.get(id),
    setStatus: (id, status) => void statuses.set(id, status),
    of: (event, id) =>
      sent.filter((one) => one.event === event && one.body.sessionId === id).map(({ body }) => body),
    onOnline: (listener) => void greeters.push(listener),
    goOffline: () => void (connected = false),
    goOnline() {
      connected = true;
      back.resolve();
      back = Promise.withResolvers();
      for (const greet of greeters) greet();
    },
  };
  return channel;
}

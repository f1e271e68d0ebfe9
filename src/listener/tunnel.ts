// One tunnel: a client's WebSocket joined with a TCP connection to a service, each read no faster than the other takes.
//
//   service ─ data ─▶ #early, until the WebSocket is there and takes more ─▶ sendBinary; -1: the service is paused
//   client ─ message ─▶ write; what is not taken waits in #late, and the client is paused until it is
//
// What one side still sends when it closes is delivered before the other side is closed.
import type { SteadyTime } from "../lib/clock.ts";
import type { ServerWebSocket, Socket } from "bun";
import { MIB } from "../lib/size.ts";
import { type Duration, formatDuration, seconds } from "../lib/duration.ts";
import { CLOSE, FRAME_MAX, SEND_BINARY } from "../protocol/caravanserai/tunnel.ts";

export type ClientSocket = ServerWebSocket<Tunnel>;
export type ServiceSocket = Socket<Tunnel>;

/** What a client that is gone has sent gets this long without progress, and a service to end after that. */
const FAREWELL = seconds(10);
/** Pings find clients that are gone, by TCP's own time-outs: a client that is only stalled answers none, and stays. */
const PING_INTERVAL = seconds(20);

const NOTHING = new Uint8Array(0);

export interface TunnelOrigin {
  readonly project: string;
  readonly service: string;
  readonly port: number;
  /** The container's id. */
  readonly container: string;
  readonly halfClose: boolean;
}

export interface TunnelEnd {
  readonly code: number;
  readonly reason: string;
}

export class Tunnel {
  /** Bytes, for the log and for who asks whether anything passes. */
  received = 0;
  sent = 0;
  /** Why it was closed from here. */
  end: TunnelEnd | undefined;

  #service: ServiceSocket | undefined;
  #client: ClientSocket | undefined;
  /** From the service, for a client that is not there yet or takes no more now. */
  #early: Uint8Array[] = [];
  #clientFull = false;
  /** From the client, for a service that takes no more now. */
  #late: Uint8Array[] = [];
  #clientPaused = false;

  #clientDone = false;
  #clientGone = false;
  #serviceDone = false;
  #serviceGone = false;
  #serviceReset = false;
  #endTold = false;
  #serviceTold = false;
  #left = false;

  /** How it ends when the client has taken what waits for it. */
  #lastWord: TunnelEnd | undefined;

  #passed = 0;
  #passedAt = performance.now();
  #pingedAt = performance.now();
  #farewellUntil = Infinity;

  constructor(
    readonly origin: TunnelOrigin,
    private readonly onOver: (tunnel: Tunnel) => void,
  ) {}

  // ---- the service's side

  /** Connected. Nothing is read until the client is there. */
  serviceOpened(service: ServiceSocket): void {
    this.#service = service;
    service.setNoDelay(true);
    service.pause();
  }

  /** `bytes` are our own. A pause does not take back what was read already. */
  fromService(bytes: Uint8Array): void {
    if (this.#clientGone || this.end) return;
    if (this.#client === undefined || this.#clientFull) this.#early.push(bytes);
    else this.#send(this.#client, bytes);
  }

  serviceDrained(): void {
    const service = this.#service;
    if (service === undefined || this.#serviceGone) return;
    while (this.#late[0] !== undefined) {
      const bytes = this.#late[0];
      const taken = Math.max(0, service.write(bytes));
      this.received += taken;
      if (taken < bytes.length) {
        if (taken > 0 && this.#clientGone) this.#sayFarewell();
        this.#late[0] = bytes.subarray(taken);
        return;
      }
      this.#late.shift();
    }
    if (this.#clientGone) this.#leaveService();
    else if (this.#clientDone) this.#endService();
    else if (this.#clientPaused) this.#resumeClient();
    this.#settle();
  }

  serviceEnded(): void {
    this.#serviceDone = true;
    this.#settle();
  }

  serviceClosed(error: Error | undefined): void {
    this.#serviceDone = true;
    this.#serviceGone = true;
    this.#serviceReset = error !== undefined;
    this.#late = [];
    if (this.#clientPaused && !this.end) this.#resumeClient();
    this.#settle();
    this.#overIfBothGone();
  }

  // ---- the client's side

  clientOpened(client: ClientSocket): void {
    this.#client = client;
    this.#flushEarly(client);
  }

  fromClient(message: string | Buffer): void {
    if (this.end) return;
    if (typeof message === "string") return this.close(CLOSE.unsupported, SEND_BINARY);
    if (message.length === 0) return this.#clientSendsNoMore();
    if (this.#clientDone) return this.close(CLOSE.protocol, "data after the end of data");
    if (this.#serviceGone) return undefined;
    const taken = this.#late.length > 0 ? 0 : Math.max(0, this.#service?.write(message) ?? 0);
    this.received += taken;
    if (taken === message.length) return undefined;
    this.#late.push(message.subarray(taken));
    if (this.#clientPaused) return undefined;
    this.#clientPaused = true;
    this.#pingedAt = performance.now();
    this.#client?.pause();
    return undefined;
  }

  clientDrained(): void {
    const client = this.#client;
    if (client === undefined || !this.#clientFull || client.getBufferedAmount() > 0) return;
    this.#clientFull = false;
    if (this.#lastWord !== undefined) return this.close(this.#lastWord.code, this.#lastWord.reason);
    this.#flushEarly(client);
  }

  clientClosed(): void {
    this.#clientGone = true;
    this.#early = [];
    // Something is wrong on our side, or with the container: nobody waits for the rest.
    const end = this.end ?? this.#lastWord;
    const hurry = end !== undefined && end.code !== CLOSE.done;
    if (hurry) this.#late = [];
    if (this.#serviceGone) return this.#overIfBothGone();
    if (hurry) this.#service?.end();
    else if (this.#late.length === 0) this.#leaveService();
    else this.#sayFarewell();
    return undefined;
  }

  // ---- from outside

  /** Closes it now, whatever is still on its way. */
  close(code: number, reason: string): void {
    if (this.end) return;
    this.end = { code, reason };
    this.#early = [];
    const client = this.#client;
    if (client === undefined) {
      this.#clientGone = true;
      if (this.#serviceGone) this.#overIfBothGone();
      else this.#service?.end();
      return;
    }
    // A paused one would not see the client's answer, nor its own time-out.
    if (this.#clientPaused) this.#resumeClient();
    client.close(code, reason);
  }

  /** For a server that ends soon, which cuts off what still waits: the reason would be lost behind it. */
  closeInTime(code: number, reason: string): void {
    if (this.#clientFull && this.#client !== undefined) this.#lastWord = { code, reason };
    else this.close(code, reason);
  }

  /** Every few seconds: what no event tells of. */
  look(now: SteadyTime, idleLimit: Duration): void {
    const passed = this.received + this.sent;
    if (passed !== this.#passed) [this.#passed, this.#passedAt] = [passed, now];
    if (now > this.#farewellUntil) this.#service?.terminate();
    if (this.#clientGone || this.end) return;
    if (now - this.#passedAt > idleLimit)
      return this.close(CLOSE.away, `nothing passed for ${formatDuration(idleLimit)}`);
    // Nothing is read of a paused one, not even its end: only writing shows that it is gone.
    if (!this.#clientPaused && now - this.#pingedAt < PING_INTERVAL) return;
    this.#pingedAt = now;
    this.#client?.ping();
  }

  // ---- how

  #flushEarly(client: ClientSocket): void {
    let sent = 0;
    while (!this.#clientFull && sent < this.#early.length) this.#send(client, this.#early[sent++] ?? NOTHING);
    this.#early.splice(0, sent);
    if (!this.#clientFull && !this.#serviceDone) this.#service?.resume();
    this.#settle();
  }

  #send(client: ClientSocket, bytes: Uint8Array): void {
    const status = client.sendBinary(bytes);
    this.sent += bytes.length;
    // Dropped, which a full buffer would do, and a tunnel must not.
    if (status === 0) return client.terminate();
    if (status > 0) return undefined;
    this.#clientFull = true;
    if (!this.#serviceGone) this.#service?.pause();
    return undefined;
  }

  #clientSendsNoMore(): void {
    // Without the agreement an empty message is just that.
    if (!this.origin.halfClose || this.#clientDone) return;
    this.#clientDone = true;
    if (this.#late.length === 0) this.#endService();
    this.#settle();
  }

  /** The service hears that no more comes; what was written before arrives first. */
  #endService(): void {
    if (this.#serviceGone || this.#serviceTold) return;
    this.#serviceTold = true;
    this.#service?.shutdown();
  }

  #resumeClient(): void {
    this.#clientPaused = false;
    this.#client?.resume();
  }

  /** Tells the client of the service's end, once it has everything that came before. */
  #settle(): void {
    if (this.#client === undefined || this.#clientGone || this.end) return;
    if (this.#clientFull || this.#early.length > 0 || !this.#serviceDone) return;
    if (this.#serviceReset) return this.close(CLOSE.reset, "the service reset the connection");
    const over = !this.origin.halfClose || (this.#clientDone && this.#late.length === 0);
    if (this.origin.halfClose && !this.#endTold) {
      this.#endTold = true;
      // 0 for an empty message means nothing.
      this.#client.sendBinary(NOTHING);
    }
    if (over || this.#serviceGone) this.close(CLOSE.done, "the service closed the connection");
  }

  /** Ends our side, and reads on until the service ends its own: closing with something unread would reset it. */
  #leaveService(): void {
    if (this.#left) return;
    this.#left = true;
    this.#sayFarewell();
    this.#endService();
    if (!this.#serviceGone) this.#service?.resume();
  }

  #sayFarewell(): void {
    this.#farewellUntil = performance.now() + FAREWELL;
  }

  #overIfBothGone(): void {
    if (this.#clientGone && this.#serviceGone) this.onOver(this);
  }
}

/** A buffer behind the kernel's own: the service is paused as soon as a byte waits in it, so that a read is the most. */
const BUFFER_MAX = MIB;

/** Bun's own time-out only ends clients that do not answer a close (16 s); `look` pings the others. */
export const websocketOptions = {
  maxPayloadLength: FRAME_MAX,
  backpressureLimit: BUFFER_MAX,
  closeOnBackpressureLimit: false,
  perMessageDeflate: false,
  idleTimeout: 960,
  sendPings: false,
} as const;

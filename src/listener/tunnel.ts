// Joins a client's WebSocket with a TCP connection to a service. Each side is read only as fast as the other accepts.
//
//   service ─ data ─▶ #toClient, until the WebSocket is open and accepts more ─▶ sendBinary; -1: pause the service
//   client ─ message ─▶ write; the rest waits in #toService, and the client is paused until it is written
//
// Data that a side sent before it closed is delivered before the other side is closed.
import type { SteadyTime } from "../lib/clock.ts";
import type { ServerWebSocket, Socket } from "bun";
import { MIB } from "../lib/size.ts";
import { type Duration, formatDuration, seconds } from "../lib/duration.ts";
import { CLOSE, FRAME_MAX, SEND_BINARY } from "../protocol/caravanserai/tunnel.ts";

export type ClientSocket = ServerWebSocket<Tunnel>;
export type ServiceSocket = Socket<Tunnel>;

/** After the client has closed: time without progress for the rest of its data, and then for the service to close. */
const CLOSE_TIMEOUT = seconds(10);
/** Pings make TCP notice clients that have vanished. Pongs are not required: a stalled client sends none, and stays. */
const PING_INTERVAL = seconds(20);

const EMPTY = new Uint8Array(0);

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
  /** Bytes in each direction, for the log and the idle limit. */
  received = 0;
  sent = 0;
  /** Why this side closed it; `undefined` while open, and when the client closed it. */
  end: TunnelEnd | undefined;

  #service: ServiceSocket | undefined;
  #client: ClientSocket | undefined;
  /** Data of the service that waits for the client to be open, or to accept more. */
  #toClient: Uint8Array[] = [];
  #clientFull = false;
  /** Data of the client that waits for the service to accept more. */
  #toService: Uint8Array[] = [];
  #clientPaused = false;

  #clientDone = false;
  #clientClosed = false;
  #serviceDone = false;
  #serviceClosed = false;
  #serviceReset = false;
  #endSent = false;
  #serviceShutDown = false;
  #serviceLeft = false;

  /** The end to send once the client has received the waiting data. */
  #pendingEnd: TunnelEnd | undefined;

  #passed = 0;
  #passedAt = performance.now();
  #pingedAt = performance.now();
  #closeUntil = Infinity;

  constructor(
    readonly origin: TunnelOrigin,
    private readonly onOver: (tunnel: Tunnel) => void,
  ) {}

  // ---- the service's side

  /** Takes the connected service. Reads nothing until the client is open. */
  serviceOpened(service: ServiceSocket): void {
    this.#service = service;
    service.setNoDelay(true);
    service.pause();
  }

  /** Takes ownership of `bytes`. They may also arrive after a pause: read before it. */
  fromService(bytes: Uint8Array): void {
    if (this.#clientClosed || this.end) return;
    if (this.#client === undefined || this.#clientFull) this.#toClient.push(bytes);
    else this.#send(this.#client, bytes);
  }

  serviceDrained(): void {
    const service = this.#service;
    if (service === undefined || this.#serviceClosed) return;
    while (this.#toService[0] !== undefined) {
      const bytes = this.#toService[0];
      const taken = Math.max(0, service.write(bytes));
      this.received += taken;
      if (taken < bytes.length) {
        if (taken > 0 && this.#clientClosed) this.#limitClose();
        this.#toService[0] = bytes.subarray(taken);
        return;
      }
      this.#toService.shift();
    }
    if (this.#clientClosed) this.#leaveService();
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
    this.#serviceClosed = true;
    this.#serviceReset = error !== undefined;
    this.#toService = [];
    if (this.#clientPaused && !this.end) this.#resumeClient();
    this.#settle();
    this.#endIfBothClosed();
  }

  // ---- the client's side

  clientOpened(client: ClientSocket): void {
    this.#client = client;
    this.#flushToClient(client);
  }

  fromClient(message: string | Buffer): void {
    if (this.end) return;
    if (typeof message === "string") return this.close(CLOSE.unsupported, SEND_BINARY);
    if (message.length === 0) return this.#clientSendsNoMore();
    if (this.#clientDone) return this.close(CLOSE.protocol, "data after the end of data");
    if (this.#serviceClosed) return undefined;
    const taken = this.#toService.length > 0 ? 0 : Math.max(0, this.#service?.write(message) ?? 0);
    this.received += taken;
    if (taken === message.length) return undefined;
    this.#toService.push(message.subarray(taken));
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
    if (this.#pendingEnd !== undefined) return this.close(this.#pendingEnd.code, this.#pendingEnd.reason);
    this.#flushToClient(client);
  }

  clientClosed(): void {
    this.#clientClosed = true;
    this.#toClient = [];
    // After an error the rest of the data is not wanted any more.
    const end = this.end ?? this.#pendingEnd;
    const hurry = end !== undefined && end.code !== CLOSE.done;
    if (hurry) this.#toService = [];
    if (this.#serviceClosed) return this.#endIfBothClosed();
    if (hurry) this.#service?.end();
    else if (this.#toService.length === 0) this.#leaveService();
    else this.#limitClose();
    return undefined;
  }

  // ---- from outside

  /** Closes the tunnel now and drops data still waiting for the client. */
  close(code: number, reason: string): void {
    if (this.end) return;
    this.end = { code, reason };
    this.#toClient = [];
    const client = this.#client;
    if (client === undefined) {
      this.#clientClosed = true;
      if (this.#serviceClosed) this.#endIfBothClosed();
      else this.#service?.end();
      return;
    }
    // While paused it would see neither the client's answer nor its own timeout.
    if (this.#clientPaused) this.#resumeClient();
    client.close(code, reason);
  }

  /** Closes the tunnel before the server stops, behind waiting data, so that the client still receives the reason. */
  closeInTime(code: number, reason: string): void {
    if (this.#clientFull && this.#client !== undefined) this.#pendingEnd = { code, reason };
    else this.close(code, reason);
  }

  /** Checks every few seconds for what has no event: idle limit, close timeout, vanished clients. */
  check(now: SteadyTime, idleLimit: Duration): void {
    const passed = this.received + this.sent;
    if (passed !== this.#passed) [this.#passed, this.#passedAt] = [passed, now];
    if (now > this.#closeUntil) this.#service?.terminate();
    if (this.#clientClosed || this.end) return;
    if (now - this.#passedAt > idleLimit)
      return this.close(CLOSE.away, `nothing passed for ${formatDuration(idleLimit)}`);
    // A paused client is not read, not even its end: only writing shows that it has vanished.
    if (!this.#clientPaused && now - this.#pingedAt < PING_INTERVAL) return;
    this.#pingedAt = now;
    this.#client?.ping();
  }

  // ---- internals

  #flushToClient(client: ClientSocket): void {
    let sent = 0;
    while (!this.#clientFull && sent < this.#toClient.length)
      this.#send(client, this.#toClient[sent++] ?? EMPTY);
    this.#toClient.splice(0, sent);
    if (!this.#clientFull && !this.#serviceDone) this.#service?.resume();
    this.#settle();
  }

  #send(client: ClientSocket, bytes: Uint8Array): void {
    const status = client.sendBinary(bytes);
    this.sent += bytes.length;
    // 0: the data was dropped because the buffer is full. A tunnel must not lose data.
    if (status === 0) return client.terminate();
    if (status > 0) return undefined;
    this.#clientFull = true;
    if (!this.#serviceClosed) this.#service?.pause();
    return undefined;
  }

  #clientSendsNoMore(): void {
    // Without the half-close subprotocol an empty message has no meaning.
    if (!this.origin.halfClose || this.#clientDone) return;
    this.#clientDone = true;
    if (this.#toService.length === 0) this.#endService();
    this.#settle();
  }

  /** Ends our side of the service's connection, after the data already written. */
  #endService(): void {
    if (this.#serviceClosed || this.#serviceShutDown) return;
    this.#serviceShutDown = true;
    this.#service?.shutdown();
  }

  #resumeClient(): void {
    this.#clientPaused = false;
    this.#client?.resume();
  }

  /** Passes the service's end on to the client, after all data before it. */
  #settle(): void {
    if (this.#client === undefined || this.#clientClosed || this.end) return;
    if (this.#clientFull || this.#toClient.length > 0 || !this.#serviceDone) return;
    if (this.#serviceReset) return this.close(CLOSE.reset, "the service reset the connection");
    const over = !this.origin.halfClose || (this.#clientDone && this.#toService.length === 0);
    if (this.origin.halfClose && !this.#endSent) {
      this.#endSent = true;
      // For an empty message a status of 0 does not mean that it was dropped.
      this.#client.sendBinary(EMPTY);
    }
    if (over || this.#serviceClosed) this.close(CLOSE.done, "the service closed the connection");
  }

  /** Ends our side, and reads until the service ends its own: closing with unread data would reset the connection. */
  #leaveService(): void {
    if (this.#serviceLeft) return;
    this.#serviceLeft = true;
    this.#limitClose();
    this.#endService();
    if (!this.#serviceClosed) this.#service?.resume();
  }

  #limitClose(): void {
    this.#closeUntil = performance.now() + CLOSE_TIMEOUT;
  }

  #endIfBothClosed(): void {
    if (this.#clientClosed && this.#serviceClosed) this.onOver(this);
  }
}

/** Size of the buffer behind the kernel's. The service is paused once a byte waits in it, so it holds one read at most. */
const BUFFER_MAX = MIB;

/** Bun's timeout only ends clients that do not answer a close (16 s); `check` pings the others. */
export const websocketOptions = {
  maxPayloadLength: FRAME_MAX,
  backpressureLimit: BUFFER_MAX,
  closeOnBackpressureLimit: false,
  perMessageDeflate: false,
  idleTimeout: 960,
  sendPings: false,
} as const;

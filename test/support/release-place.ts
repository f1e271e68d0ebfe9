// A place to download releases from: artefacts with signed checksums, over a real socket that can break in the middle.
import { type IncomingMessage, type RequestListener, type ServerResponse, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { once } from "node:events";
import { text } from "node:stream/consumers";

/** What the release build stamps into install.sh. */
export interface Stamps {
  RELEASE_VERSION?: string;
  RELEASE_PLACE?: string;
  RELEASE_SUMS?: string;
  RELEASE_KEY_SSH?: string;
  RELEASE_KEY_PEM?: string;
  RELEASE_KEY_MINISIGN?: string;
  /** Not stamped into a release: where tests install to. */
  PROGRAM_DIRECTORY?: string;
  CONFIG_DIRECTORY?: string;
  STATE_DIRECTORY?: string;
}

/** A key that signs SHA256SUMS, in the forms that the script knows. */
export class ReleaseKey {
  readonly stamps: Required<Pick<Stamps, "RELEASE_KEY_SSH" | "RELEASE_KEY_PEM" | "RELEASE_KEY_MINISIGN">>;

  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true });
    succeed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", join(directory, "key")]);
    const ssh = readFileSync(join(directory, "key.pub"), "utf8").trim();
    const raw = Buffer.from(ssh.split(" ")[1] ?? "", "base64").subarray(-32);
    // The DER of an Ed25519 key is 12 bytes, the same for each, and the key.
    const pem = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]).toString("base64");
    this.stamps = { RELEASE_KEY_SSH: ssh, RELEASE_KEY_PEM: pem, RELEASE_KEY_MINISIGN: "" };
    if (Bun.which("minisign") === null) return;
    const [secret, open] = [join(directory, "minisign"), join(directory, "minisign.pub")];
    succeed(["minisign", "-G", "-W", "-s", secret, "-p", open]);
    this.stamps.RELEASE_KEY_MINISIGN = readFileSync(open, "utf8").split("\n")[1] ?? "";
  }

  /** Writes FILE.sig, and FILE.minisig where minisign is. */
  sign(file: string): void {
    succeed([
      "ssh-keygen",
      "-q",
      "-Y",
      "sign",
      "-f",
      join(this.directory, "key"),
      "-n",
      "noderax-agent",
      file,
    ]);
    if (this.stamps.RELEASE_KEY_MINISIGN !== "")
      succeed(["minisign", "-S", "-s", join(this.directory, "minisign"), "-m", file]);
  }
}

export interface ProgressReport {
  readonly token: string;
  readonly stage: string;
  readonly status: string;
  readonly progressPercent: number;
  readonly statusMessage: string;
}

/** Serves a directory, with ranges, and takes reports of progress. */
export class ReleasePlace implements AsyncDisposable {
  readonly files: string;
  readonly requests: string[] = [];
  readonly reports: ProgressReport[] = [];
  /** So many downloads of artefacts break after half of what they were to send. */
  breaks = 0;
  /** Called when half of an artefact is sent; the rest never comes. */
  holds: (() => void) | undefined;
  /** False: every answer is the whole file. */
  ranges = true;
  readonly #server;
  readonly #scheme;

  /** Over TLS when it has a certificate. */
  constructor(directory: string, tls?: { readonly cert: Buffer; readonly key: Buffer }) {
    const answer: RequestListener = (request, response) => void this.#answer(request, response);
    this.#server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
    this.#scheme = tls === undefined ? "http" : "https";
    this.files = join(directory, "place");
    mkdirSync(this.files, { recursive: true });
  }

  async listens(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the place does not listen");
    return `${this.#scheme}://127.0.0.1:${address.port}`;
  }

  /** Publishes an executable, plain and compressed, and the checksums, signed by the key. Returns the checksums. */
  publish(executable: string | Uint8Array, names: readonly string[], key: ReleaseKey): string {
    const plain = Buffer.from(executable);
    const sums: string[] = [];
    for (const name of names) {
      for (const [file, bytes] of [
        [name, plain],
        [`${name}.gz`, Bun.gzipSync(plain)],
      ] as const) {
        writeFileSync(join(this.files, file), bytes);
        sums.push(`${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}  ${file}`);
      }
    }
    const file = join(this.files, "SHA256SUMS");
    writeFileSync(file, `${sums.join("\n")}\n`);
    key.sign(file);
    return sums.join("\n");
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // As a proxy it is told the whole address.
    const path = new URL(request.url ?? "/", "http://place").pathname;
    this.requests.push(
      `${request.method} ${path}${request.headers.range ? ` ${request.headers.range}` : ""}`,
    );
    if (request.method === "POST") {
      this.reports.push(JSON.parse(await text(request)));
      response.writeHead(201).end("{}");
      return;
    }
    const file = Bun.file(join(this.files, path));
    if (!(await file.exists())) {
      response.writeHead(404).end();
      return;
    }
    const bytes = Buffer.from(await file.arrayBuffer());
    const from = this.ranges ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
    const rest = bytes.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, {
      "content-length": rest.length,
      ...(from > 0 && { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    if (this.breaks > 0 && path.includes("noderax-agent-")) {
      this.breaks--;
      response.write(rest.subarray(0, rest.length / 2), () => response.socket?.destroy());
    } else if (this.holds !== undefined && path.includes("noderax-agent-"))
      response.write(rest.subarray(0, rest.length / 2), this.holds);
    else response.end(rest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function succeed(command: string[]): void {
  const { success, stderr } = Bun.spawnSync(command, { stdin: "ignore" });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
}

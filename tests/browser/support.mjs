// What the browser tests run on: the real `chunkgate demo`, a site in front of it, and a real browser.
//
// The site plays a web server of one's own: it serves the page and what the page loads, signs for it (`/sign`,
// `/credentials`), and passes everything else on to chunkgate, as a reverse proxy would. On its way a chunk can be held,
// dropped, cut in the middle, altered, refused, or lose its answer. Everything listens on loopback, and whatever was started ends with the test process.
//
// Run: `cargo build`, then in this folder `npm ci && node --test`. Needs Node.js 20 or newer and Chromium.
// CHUNKGATE_BIN names another binary, CHUNKGATE_BROWSER another browser.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createCipheriv, createHash, createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const REPOSITORY = path.resolve(HERE, "../..");
export const USER = { key: "demo-key", secret: "demo-secret" };
/** How long anything may take before a test gives up. */
const PATIENCE = 30_000;

// ---- ending what was started -------------------------------------------------------------------------------------------

const leftovers = new Set();
process.on("exit", () => leftovers.forEach((end) => end()));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A new empty folder that is removed at the end. */
export function temporary(name) {
  const folder = mkdtempSync(path.join(tmpdir(), `chunkgate-${name}-`));
  leftovers.add(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

// ---- the service -------------------------------------------------------------------------------------------------------

/** `chunkgate demo` on a data folder of its own, on ports that the system chose. */
export class Demo {
  #folder = temporary("demo");
  #address = "127.0.0.1:0";
  #process = null;
  #more = [];
  /** What it printed since its last start. */
  said = "";
  #end = () => this.#process?.kill("SIGKILL");

  /** `more` are further arguments. */
  static async start(more = []) {
    const demo = new Demo();
    demo.#more = more;
    leftovers.add(demo.#end);
    await demo.start();
    return demo;
  }

  get url() {
    return `http://${this.#address}`;
  }

  /** Starts; the second time on the same address and data. */
  async start() {
    const binary = path.resolve(process.env.CHUNKGATE_BIN ?? path.join(REPOSITORY, "target/debug/chunkgate"));
    assert.ok(existsSync(binary), `${binary} is not there: run cargo build, or set CHUNKGATE_BIN`);
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CHUNKGATE_")));
    const data = path.join(this.#folder, "data");
    const args = ["demo", "--listen", this.#address, "--identity-listen", "127.0.0.1:0", "--data", data, ...this.#more];
    const child = spawn(binary, args, { cwd: this.#folder, env, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    this.said = "";
    let complained = "";
    child.stderr.on("data", (text) => (complained = (complained + text).slice(-4000)));
    this.#address = await new Promise((resolve, reject) => {
      child.stdout.on("data", (text) => {
        this.said += text;
        const [, address] = /page +http:\/\/([^/\s]+)\/[^]*Ctrl-C stops/.exec(this.said) ?? [];
        if (address) resolve(address);
      });
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`chunkgate demo ended with ${code}: ${complained}`)));
    });
  }

  /** Ends it as a crash or a power cut would. */
  async kill() {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Runs another command of the binary on the same database; gives what it prints. */
  command(args, settings = {}) {
    const env = { PATH: process.env.PATH, CHUNKGATE_DATABASE__URL: `sqlite:${this.#folder}/data/chunkgate.db`, ...settings };
    return execFileSync(path.resolve(process.env.CHUNKGATE_BIN ?? path.join(REPOSITORY, "target/debug/chunkgate")), args, { env }).toString();
  }

  /** Paths of the files in the data folder that still grow. */
  unfinished() {
    const files = readdirSync(path.join(this.#folder, "data", "files"), { recursive: true });
    return files.filter((name) => name.endsWith(".part"));
  }

  async ask(route, options = {}) {
    return fetch(`${this.url}${route}`, { ...options, headers: signed() });
  }

  /** The upload as native JSON shows it, or the problem. */
  async status(id) {
    return (await this.ask(`/api/v1/uploads/${id}`)).json();
  }

  async list(state = "") {
    return (await (await this.ask(`/api/v1/uploads?limit=200&state=${state}`)).json()).uploads;
  }

  /** Paths of the files in the data folder that belong to an upload. */
  filesOf(id) {
    const files = readdirSync(path.join(this.#folder, "data", "files"), { recursive: true, withFileTypes: true });
    const plain = id.replaceAll("-", "");
    return files
      .filter((entry) => entry.isFile() && entry.name.replaceAll("-", "").includes(plain))
      .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
  }

  /** Asserts that the upload is complete and what lies on the disk is exactly `file`. */
  async assertStored(id, file) {
    const upload = await this.status(id);
    assert.equal(upload.state, "complete");
    assert.equal(upload.size, file.bytes.length);
    assert.deepEqual(upload.digest, { algorithm: "md5", value: file.md5 });
    const stored = this.filesOf(id);
    assert.equal(stored.length, 1, `one file of ${id}, found ${stored}`);
    assert.ok(readFileSync(stored[0]).equals(file.bytes), "the stored file is byte-identical");
    const content = Buffer.from(await (await this.ask(`/api/v1/uploads/${id}/content`)).arrayBuffer());
    assert.ok(content.equals(file.bytes), "the delivered content is byte-identical");
  }
}

/** Credentials as a site's backend makes them: the page never sees the secret. */
export function signature() {
  const timestamp = String(Math.floor(Date.now() / 1000));
  return { api_key: USER.key, timestamp, signature: createHmac("sha256", USER.secret).update(timestamp).digest("hex") };
}

/** The same as headers. */
export function signed() {
  const { api_key, timestamp, signature: made } = signature();
  return { "X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": made };
}

// ---- the site ----------------------------------------------------------------------------------------------------------

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };
/** Where the multipart door and the raw door take chunks. */
const CHUNKS = /^\/chunked_upload(s\/upload)?\/?$/;

/** What becomes of a chunk on its way: passed on, its answer lost, or dropped before the service sees it. */
export const PASS = { forward: true, answer: true };
export const LOSE = { forward: true, answer: false };
export const DROP = { forward: false, answer: false };
/** Half of the chunk arrives, then `midway` happens. */
export const interrupted = (midway) => ({ ...PASS, midway });
/** The service has answered, and the answer waits at the gate. */
export const delayed = (late) => ({ ...PASS, late });
/** What is sent on is something else: `{ headers }`, or `{ body }`. */
export const altered = (change) => ({ ...PASS, ...change });
/** With a proof of the same kind that is wrong. */
export const spoilt = ({ headers }) => {
  const wrong = headers["upload-token"] ? { "upload-token": `cgu1_${"A".repeat(124)}` } : { "x-signature": "0".repeat(64) };
  return altered({ headers: wrong });
};
/** The answer of somebody on the way, a proxy whose service is away. */
export const refused = (status, headers = {}) => ({ ...PASS, refused: { status, headers, body: Buffer.alloc(0) } });

export class Site {
  /** Chunks in the order of their arrival; `status` is the service's answer. */
  chunks = [];
  /** Every other request, as `METHOD path`. */
  requests = [];
  /** Decides about each chunk; may take its time. */
  rule = () => PASS;
  /** A connection for each request: a browser repeats a POST by itself where a kept one turns out to be dead. */
  fresh = false;
  /** Whether the cable is pulled: no request gets through. */
  cut = false;
  /** What `/credentials` gives to the page, and how often it was asked. */
  sign = signature;
  signed = 0;
  /** Where the page to copy finds the service. */
  service = "";
  /** Policy of the pages (Content-Security-Policy). */
  policy = null;
  #server;
  #demo;

  static async start(demo) {
    const site = new Site();
    site.#demo = demo;
    site.#server = http.createServer((request, response) => {
      site.#serve(request, response).catch(() => response.destroy());
    });
    await new Promise((resolve) => site.#server.listen(0, "127.0.0.1", resolve));
    return site;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Forgets what passed, and passes everything on. */
  reset() {
    Object.assign(this, { chunks: [], requests: [], rule: () => PASS, fresh: false, cut: false });
    Object.assign(this, { sign: signature, signed: 0, policy: null });
  }

  /** Breaks every connection. */
  hangUp() {
    this.#server.closeAllConnections();
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request, response) {
    const { pathname } = new URL(request.url, this.url);
    if (this.fresh) response.setHeader("Connection", "close");
    if (pathname === "/favicon.ico") return response.writeHead(204).end();
    if (this.cut) return response.destroy();
    if (pathname === "/sign") return response.end(JSON.stringify(signed()));
    if (pathname === "/credentials") return this.#credentials(response);
    request.onward = { ...request.headers, connection: "close" };
    if (pathname.startsWith("/site/")) return this.#file(pathname.slice("/site/".length), response);
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    if (request.method !== "POST" || !CHUNKS.test(pathname)) {
      this.requests.push(`${request.method} ${pathname}`);
      return this.#deliver(response, await this.#forward(request, body));
    }
    const chunk = chunkOf(request, body);
    this.chunks.push(chunk);
    const way = await this.rule(chunk);
    if (!way.forward || response.destroyed) return response.destroy();
    Object.assign(request.onward, way.headers);
    const answer = way.refused ?? (await this.#forward(request, way.body ?? body, way.midway));
    chunk.status = answer.status;
    await way.late?.hold();
    return way.answer ? this.#deliver(response, answer) : response.destroy();
  }

  #credentials(response) {
    this.signed += 1;
    const given = this.sign();
    response.statusCode = given ? 200 : 401;
    response.end(JSON.stringify(given));
  }

  /** What others copy is taken from where they find it, word for word. */
  #text(name) {
    if (name === "recover.js") return documented("recover");
    if (name !== "partial.html") return readFileSync(path.join(HERE, found(name)));
    const page = readFileSync(path.join(REPOSITORY, "assets/client/chunked_upload.html"), "utf8");
    return page.replaceAll('"/client/', `"${this.service}/client/`);
  }

  #file(name, response) {
    const text = this.#text(name);
    response.setHeader("Content-Type", TYPES[path.extname(name)] ?? "application/octet-stream");
    if (this.policy) response.setHeader("Content-Security-Policy", this.policy);
    response.end(text);
  }

  #forward(request, body, midway) {
    return new Promise((resolve, reject) => {
      const options = { method: request.method, headers: request.onward, agent: false };
      const onward = http.request(`${this.#demo.url}${request.url}`, options, async (answer) => {
        try {
          const parts = [];
          for await (const part of answer) parts.push(part);
          resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) });
        } catch (error) {
          reject(error);
        }
      });
      onward.on("error", reject);
      if (!midway) return onward.end(body);
      const half = body.length >> 1;
      onward.write(body.subarray(0, half), () => midway().then(() => onward.end(body.subarray(half)), reject));
    });
  }

  #deliver(response, { status, headers, body }) {
    const { connection, "transfer-encoding": coding, ...rest } = headers;
    response.writeHead(status, rest);
    response.end(body);
  }
}

function found(name) {
  const [, library] = /^modules\/(.+)$/.exec(name) ?? [];
  assert.ok(!name.includes(".."), name);
  return library ? `node_modules/${library}` : `site/${name}`;
}

function chunkOf(request, body) {
  const range = request.headers["content-range"];
  const [head] = body.subarray(0, 2048).toString("latin1").split(/(?<=filename="[^"]*")/);
  return {
    range,
    start: Number(/^bytes (\d+)-/.exec(range ?? "")?.[1] ?? 0),
    disposition: request.headers["content-disposition"],
    headers: request.headers,
    body,
    fields: [...head.matchAll(/form-data; name="([^"]*)"/g)].map(([, field]) => field),
    uploadId: /name="upload_id"\r\n\r\n([^\r]*)/.exec(head)?.[1],
    status: undefined,
  };
}

/** The code block of a page in proto-docs that follows the mark of that name. */
export function documented(mark, name = "multipart", language = "js") {
  const page = readFileSync(path.join(REPOSITORY, `proto-docs/${name}.md`), "utf8");
  const [, code] = new RegExp(`<!-- test: ${mark} -->\\s*\`\`\`${language}\\n([^]*?)\\n\`\`\``).exec(page) ?? [];
  assert.ok(code, `proto-docs/${name}.md has no code marked "test: ${mark}"`);
  return code;
}

/** Holds what reaches it until it is let go. */
export function gate() {
  let open, reach;
  const opened = new Promise((resolve) => (open = resolve));
  const reached = new Promise((resolve) => (reach = resolve));
  return { reached, reach, opened, open, hold: () => (reach(), opened) };
}

// ---- files -------------------------------------------------------------------------------------------------------------

/** A file on the disk with bytes that look random and are the same in every run. */
export function makeFile(folder, name, size) {
  const bytes = createCipheriv("aes-128-ctr", createHash("md5").update(name).digest(), Buffer.alloc(16)).update(Buffer.alloc(size));
  const file = { name, path: path.join(folder, name), bytes, md5: createHash("md5").update(bytes).digest("hex") };
  writeFileSync(file.path, bytes);
  return file;
}

// ---- the browser -------------------------------------------------------------------------------------------------------

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Chromium with an empty profile. */
export async function startBrowser() {
  const executablePath = process.env.CHUNKGATE_BROWSER ?? BROWSERS.find(existsSync);
  assert.ok(executablePath, "no Chromium is installed: apt-get install chromium, or set CHUNKGATE_BROWSER");
  const browser = await chromium.launchPersistentContext(temporary("browser"), {
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  browser.setDefaultTimeout(PATIENCE);
  return browser;
}

/** A page that remembers what went wrong in it: uncaught errors, error messages, violations of its policy. */
export async function openPage(browser) {
  const page = await browser.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
  return page;
}

/** Waits until `test` gives something true, and gives that. */
export async function until(test, what) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
    const value = await test();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited in vain: ${what}`);
}

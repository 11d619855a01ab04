// What the tests of tus clients run on: a page on `localhost`, the service on `127.0.0.1`, which to a browser is another
// site, and a line between them that can be held in the middle of a body, or cut.
//
// The line knows nothing of HTTP, so that what passes is what the browser and the service say to each other. What is sent
// is read off the browser.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { createSigner, httpbis } from "http-message-signatures";

import { Demo, USER, documented, gate, openPage, signed, startBrowser, temporary } from "./support.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const EVENTS = "what-tells-the-demo-of-events";
const TYPES = { ".css": "text/css", ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };

/** What a site's backend answers to a page that wants a request signed by v2: it alone has the secret. */
async function signedMessage({ method, url, headers }) {
  const fields = ["@method", "@authority", "@path", "@query", ...Object.keys(headers).map((name) => name.toLowerCase())];
  const message = await httpbis.signMessage(
    {
      key: createSigner(Buffer.from(USER.secret), "hmac-sha256", USER.key),
      fields,
      params: ["created", "keyid", "alg", "nonce", "tag"],
      paramValues: { nonce: randomUUID(), tag: "chunkgate" },
    },
    { method, url, headers },
  );
  return { "Signature-Input": message.headers["Signature-Input"], Signature: message.headers.Signature };
}

async function json(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts));
}

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Comes true when the bytes are out of this process's hands, or the socket is closed. */
const passed = (socket, bytes) => new Promise((resolve) => (socket.destroyed ? resolve() : socket.write(bytes, () => resolve())));

/** The way to the service. */
class Line {
  port;
  #server;
  #pairs = new Set();
  #onward;
  #cut = false;
  /** How many bytes may still pass to the service before the line is held. */
  #left = Infinity;
  #held = null;

  static async to(url) {
    const line = new Line();
    line.#onward = Number(new URL(url).port);
    line.#server = net.createServer((near) => line.#join(near));
    line.port = await listening(line.#server);
    return line;
  }

  #join(near) {
    if (this.#cut) return near.destroy();
    const far = net.connect(this.#onward, "127.0.0.1");
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.on("close", () => (near.destroy(), far.destroy(), this.#pairs.delete(pair)));
    }
    far.pipe(near);
    near.on("data", (bytes) => this.#pass(near, far, bytes));
  }

  /** A body is held in its middle: other requests pass, since their heads are short. */
  async #pass(near, far, bytes) {
    const held = this.#held;
    if (!held || bytes.length <= 4096) return far.write(bytes);
    near.pause();
    const now = bytes.subarray(0, Math.max(0, this.#left));
    this.#left -= now.length;
    await passed(far, now);
    if (now.length < bytes.length) {
      await held.hold();
      await passed(far, bytes.subarray(now.length));
    }
    near.resume();
  }

  /**
   * Lets so many bytes of bodies pass, and then none. `reached` comes true; `open` lets all pass again, `drop` loses what
   * is on its way, for whoever sent it has left.
   */
  holdAfter(bytes) {
    const held = gate();
    this.#left = bytes;
    this.#held = held;
    const open = () => ((this.#held = null), held.open());
    return { reached: held.reached, open, drop: () => (this.#breakAll(), open()) };
  }

  #breakAll() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Breaks every connection; no new one is made until it is mended. */
  cut() {
    this.#cut = true;
    this.#held?.open();
    this.#held = null;
    this.#breakAll();
  }

  mend() {
    this.#cut = false;
  }

  close() {
    this.cut();
    this.#server.close();
  }
}

/** Page, line, service and browser. */
export class Crossing {
  /** Requests that the browser made, in order: `{ method, path, offset, headers, status, granted }`. */
  sent = [];
  demo;
  line;
  browser;
  #site;
  #made;

  /** `made` gives files of the page that are made for the test, by their names; `settings` are further ones of the service. */
  static async start(made = {}, settings = "") {
    const crossing = new Crossing();
    crossing.#made = made;
    crossing.#site = http.createServer((request, response) => crossing.#serve(request, response).catch(() => response.destroy()));
    crossing.page = `http://localhost:${await listening(crossing.#site)}`;
    const config = path.join(temporary("config"), "chunkgate.toml");
    writeFileSync(config, `[cors]\nallowed_origins = "${crossing.page}"\n[identity]\nevents_token = "${EVENTS}"\n${settings}`);
    crossing.demo = await Demo.start(["--config", config]);
    crossing.line = await Line.to(crossing.demo.url);
    crossing.browser = await startBrowser();
    return crossing;
  }

  async stop() {
    await this.browser?.close();
    this.line?.close();
    this.#site?.closeAllConnections();
    this.#site?.close();
    await this.demo?.kill();
  }

  /** Where the browser finds the service. */
  get service() {
    return `http://127.0.0.1:${this.line.port}`;
  }

  async #serve(request, response) {
    const { pathname } = new URL(request.url, this.page);
    if (pathname === "/sign") return response.end(JSON.stringify(signed()));
    if (pathname === "/sign-message") return response.end(JSON.stringify(await signedMessage(await json(request))));
    response.setHeader("Content-Type", TYPES[path.extname(pathname)] ?? "application/octet-stream");
    const library = pathname.startsWith("/modules/");
    const file = library ? `node_modules/${pathname.slice("/modules/".length)}` : `site${pathname}`;
    response.end(this.#made[pathname.slice(1)]?.(this) ?? readFileSync(path.join(HERE, file)));
  }

  /** A page of the site. What it asks of the service is noted. */
  async open(name) {
    const page = await openPage(this.browser);
    const notes = new Map();
    page.on("request", (request) => {
      const { origin, pathname } = new URL(request.url());
      if (origin !== this.service) return;
      const headers = request.headers();
      const note = { method: request.method(), path: pathname, offset: headers["upload-offset"], headers };
      notes.set(request, note);
      this.sent.push(note);
    });
    page.on("response", (response) => {
      const note = notes.get(response.request());
      if (note) Object.assign(note, { status: response.status(), granted: response.headers()["access-control-allow-origin"] });
    });
    await page.goto(`${this.page}/${name}?service=${encodeURIComponent(this.service)}`);
    return page;
  }

  /** Methods of what was sent, in order. */
  methods() {
    return this.sent.map(({ method }) => method);
  }

  /** Everything ends that the user's uploads go on under. */
  async endTokens() {
    const event = { id: crypto.randomUUID(), type: "session.revoked", realm: "default", at: new Date().toISOString() };
    const answer = await fetch(`${this.demo.url}/api/v1/identity/events`, {
      method: "POST",
      headers: { Authorization: `Bearer ${EVENTS}`, "Content-Type": "application/json" },
      body: JSON.stringify({ version: "1", events: [event] }),
    });
    assert.equal((await answer.json()).events?.[0].outcome, "applied");
  }

  /** Asserts that what lies on the service's disk is the file, and that the page was told its name. */
  async assertStored(id, file) {
    const upload = await this.demo.status(id);
    assert.deepEqual([upload.state, upload.filename, upload.size], ["complete", file.name, file.bytes.length]);
    this.assertBytes(id, file);
  }

  /** Asserts that what lies on the disk is the file. */
  assertBytes(id, file) {
    const stored = this.demo.filesOf(id);
    assert.equal(stored.length, 1, `one file of ${id}, found ${stored}`);
    assert.equal(sha256(readFileSync(stored[0])), sha256(file.bytes), "the stored file is another");
  }
}

/** Code of `proto-docs/tus.md` as it stands there, but for the service's address. */
export function recipe(mark, { service }) {
  return documented(mark, "tus").replaceAll("https://upload.example.org", service);
}

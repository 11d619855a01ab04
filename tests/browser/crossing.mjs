// What the tests of tus clients run on: a page on `localhost`, the service on `127.0.0.1`, which to a browser is another
// site, and a line between them that can be held in the middle of a body, or cut. A file of tests has one of them, which
// is as new for each test.
//
// The line knows nothing of HTTP, so that what passes is what the browser and the service say to each other. What is sent
// is read off the browser.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { after, afterEach, before } from "node:test";
import { fileURLToPath } from "node:url";

import { createSigner, httpbis } from "http-message-signatures";

import { Demo, USER, documented, gate, openPage, signed, startBrowser, temporary, until } from "./support.mjs";

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
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

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
  /** The page that is open. */
  page = null;
  demo;
  line;
  browser;
  #origin;
  #site;
  /** What the site has for these tests alone, by name. */
  #made = new Map();

  /** For the tests of a file. `made` makes files of the site, by their names; `settings` are further ones of the service. */
  constructor(made = {}, settings = "") {
    before(() => this.#start(made, settings));
    afterEach(() => this.#clear());
    after(() => this.#stop());
  }

  async #start(made, settings) {
    this.#site = http.createServer((request, response) => this.#serve(request, response).catch(() => response.destroy()));
    this.#origin = `http://localhost:${await listening(this.#site)}`;
    const config = path.join(temporary("config"), "chunkgate.toml");
    const identity = `[identity]\nevents_token = "${EVENTS}"`;
    writeFileSync(config, `[cors]\nallowed_origins = "${this.#origin}"\n${identity}\n${settings}`);
    this.demo = await Demo.start(["--config", config]);
    this.line = await Line.to(this.demo.url);
    for (const [name, make] of Object.entries(made)) this.#made.set(name, await make(this));
    this.browser = await startBrowser();
  }

  async #clear() {
    this.line.mend();
    await this.page?.evaluate(() => localStorage.clear());
    await this.page?.close();
    this.page = null;
    this.sent = [];
  }

  async #stop() {
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
    const { pathname } = new URL(request.url, this.#origin);
    if (pathname === "/sign") return response.end(JSON.stringify(signed()));
    if (pathname === "/sign-message") return response.end(JSON.stringify(await signedMessage(await json(request))));
    response.setHeader("Content-Type", TYPES[path.extname(pathname)] ?? "application/octet-stream");
    const library = pathname.startsWith("/modules/");
    const file = library ? `node_modules/${pathname.slice("/modules/".length)}` : `site${pathname}`;
    response.end(this.#made.get(pathname.slice(1)) ?? readFileSync(path.join(HERE, file)));
  }

  /** Opens a page of the site. What it asks of the service is noted. */
  async open(name) {
    const page = await openPage(this.browser);
    this.page = page;
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
    await page.goto(`${this.#origin}/${name}?service=${encodeURIComponent(this.service)}`);
  }

  /** The page with tus-js-client anew, with the file chosen. */
  async choose(file) {
    await this.open("tus.html");
    await this.page.setInputFiles("#file", file.path);
  }

  /** In that page: begins to send the file. */
  begin(options = {}) {
    return this.page.evaluate((options) => begin(options), options);
  }

  /** In that page: how it ended. */
  outcome() {
    return until(() => this.page.evaluate(() => outcome), "the upload's end");
  }

  /** Waits until the file is there; gives its id. */
  async completed(file) {
    const { url, why } = await this.outcome();
    assert.ok(url, why);
    assert.ok(url.startsWith(`${this.service}/files/`), url);
    await this.assertStored(idOf(url), file);
    for (const { method, status, granted } of this.sent) if (status) assert.equal(granted, this.#origin, method);
    return idOf(url);
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

  /** The upload as native JSON shows it. Asked by v2, which every service takes. */
  async status(id) {
    const url = `${this.demo.url}/api/v1/uploads/${id}`;
    return (await fetch(url, { headers: await signedMessage({ method: "GET", url, headers: {} }) })).json();
  }

  /** Asserts that what lies on the service's disk is the file, and that the page was told its name. */
  async assertStored(id, file) {
    const upload = await this.status(id);
    assert.deepEqual([upload.state, upload.filename, upload.size], ["complete", file.name, file.bytes.length]);
    const stored = this.demo.filesOf(id);
    assert.equal(stored.length, 1, `one file of ${id}, found ${stored}`);
    assert.equal(sha256(readFileSync(stored[0])), sha256(file.bytes), "the stored file is another");
  }
}

/** The upload that is at this URL. */
export const idOf = (url) => url.split("/").at(-1);

/** Code of `proto-docs/tus.md` as it stands there, but for the service's address. */
export function recipe(mark, { service }) {
  return documented(mark, "tus").replaceAll("https://upload.example.org", service);
}

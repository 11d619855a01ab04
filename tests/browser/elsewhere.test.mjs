// jQuery-File-Upload as it comes, on a page of another origin, against both doors: everything that crosses is asked for
// by preflights and read by the page, or the upload does not end.
//
// The page is `localhost`, the service `127.0.0.1`: to the browser not only another origin but another site, so that no
// cookie of the service is kept. Between them a plain proxy notes what passes, and can hold a chunk.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, describe, test } from "node:test";

import { Demo, gate, makeFile, openPage, signed, startBrowser, temporary, until } from "./support.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const CHUNK = 256 * 1024;
const MANY = 2.5 * CHUNK;
const PEPPER = "a pepper for the browser's tests";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };
const folder = temporary("files");
let demo, front, site, browser, page, key;

// ---- the two origins ---------------------------------------------------------------------------------------------------

async function listen(handler) {
  const server = http.createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** The page's own server. */
const serve = (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const name = pathname.startsWith("/modules/") ? `node_modules/${pathname.slice("/modules/".length)}` : `site${pathname}`;
  response.setHeader("Content-Type", TYPES[path.extname(name)] ?? "application/octet-stream");
  response.end(readFileSync(path.join(HERE, name)));
};

/** Requests as they passed, in order: `{ method, path, range, origin, cookie, status }`. */
let passed = [];
/** Where a preflight was answered. Browsers remember the answer, so there is not one before every request. */
const preflights = new Set();
/** Awaited before a request goes on. */
let rule = () => {};

const proxy = async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const { pathname: path } = new URL(request.url, demo.url);
  const { "content-range": range, origin, cookie } = request.headers;
  const one = { method: request.method, path, url: request.url, range, origin, cookie };
  passed.push(one);
  if (request.method === "OPTIONS") preflights.add(path);
  await rule(one);
  const options = { method: request.method, headers: { ...request.headers, connection: "close" }, agent: false };
  const onward = http.request(`${demo.url}${request.url}`, options, (answer) => {
    one.status = answer.statusCode;
    const { connection, "transfer-encoding": coding, ...headers } = answer.headers;
    if (!response.destroyed) response.writeHead(answer.statusCode, headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  onward.end(Buffer.concat(parts));
};

const local = (host, server) => `http://${host}:${server.address().port}`;
const service = () => local("127.0.0.1", front);

before(async () => {
  site = await listen(serve);
  front = await listen((request, response) => proxy(request, response).catch(() => response.destroy()));
  const config = path.join(folder, "chunkgate.toml");
  const origins = `[cors]\nallowed_origins = "${local("localhost", site)}"\n`;
  writeFileSync(config, `[auth]\nmethods = ["signature", "api_key"]\npepper = "${PEPPER}"\n${origins}`);
  demo = await Demo.start(["--config", config]);
  demo.command(["user", "add", "ann"], { CHUNKGATE_AUTH__PEPPER: PEPPER });
  key = JSON.parse(demo.command(["key", "create", "ann", "--json"], { CHUNKGATE_AUTH__PEPPER: PEPPER })).api_key;
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  for (const server of [site, front]) {
    server?.closeAllConnections();
    server?.close();
  }
  await demo?.kill();
});
afterEach(async () => {
  await page?.evaluate(() => localStorage.clear());
  await page?.close();
  passed = [];
  rule = () => {};
});

// ---- what the page does --------------------------------------------------------------------------------------------------

/** Ways to speak to the service: which door, and how it is proved who asks. */
const WAYS = {
  "multipart, signed": { door: "multipart", route: "/chunked_upload/", headers: signed },
  "raw, signed": { door: "raw", route: "/chunked_uploads/upload/", headers: signed },
  "raw, signed, without cookies": { door: "raw", route: "/chunked_uploads/upload/", headers: signed, more: () => ({ keepsCookies: false }) },
  "raw, user's name and API key as the original's script sends them": {
    door: "raw",
    route: "/chunked_uploads/upload/",
    headers: () => ({ username: "ann", api_key: key }),
    more: () => ({ query: { username: "ann", api_key: key }, form: { username: "ann", api_key: key } }),
  },
};

async function load(way) {
  await page.goto(`${local("localhost", site)}/elsewhere.html`);
  const settings = [way.door, service(), way.headers(), way.more?.() ?? {}];
  await page.evaluate(([door, ...rest]) => void (window.way = { multipart, raw }[door](...rest)), settings);
}

async function open(way) {
  page = await openPage(browser);
  await load(way);
}

const choose = (file) => page.setInputFiles("#file", file.path);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const chunks = (way) => passed.filter(({ method, path }) => method === "POST" && path === way.route);
const ranges = (way) => chunks(way).map(({ range }) => range);

function cut(size, from = 0) {
  const all = [];
  for (let at = from; at < size; at += CHUNK) all.push(`bytes ${at}-${Math.min(at + CHUNK, size) - 1}/${size}`);
  return all;
}

/** Waits for the end, and compares what lies on the server's disk with the file. */
async function completed(way, file) {
  const [end] = await until(async () => (await page.evaluate(() => results.length)) && page.evaluate(() => results), "the end");
  assert.equal(end.name, file.name, JSON.stringify(end));
  if (way.door === "raw") assert.equal(end.body[0].state, "COMPLETE");
  else assert.deepEqual(end.body, {});
  const stored = demo.filesOf(end.id);
  assert.equal(stored.length, 1);
  assert.equal(sha256(readFileSync(stored[0])), sha256(file.bytes));
  for (const { method, path, origin, cookie } of passed) {
    assert.deepEqual([origin, cookie], [local("localhost", site), undefined], `${method} ${path}`);
  }
  assert.ok(preflights.has(way.route), "the browser asked first");
  return end.id;
}

/** Holds the first passage of the chunk that begins at `start`. */
function holding(way, start) {
  const held = gate();
  let done = false;
  rule = async ({ method, path, range }) => {
    if (done || method !== "POST" || path !== way.route || !range?.startsWith(`bytes ${start}-`)) return;
    done = true;
    await held.hold();
  };
  return held;
}

for (const [what, way] of Object.entries(WAYS)) {
  describe(what, () => {
    for (const [size, name, length, sent] of [
      ["many chunks", "many ä.bin", MANY + 1, cut(MANY + 1)],
      ["one request", "small.bin", 1000, [undefined]],
      ["an empty file", "empty.bin", 0, [undefined]],
    ]) {
      test(size, async () => {
        const file = makeFile(folder, name, length);
        await open(way);
        await choose(file);
        await completed(way, file);
        assert.deepEqual(ranges(way), sent);
        assert.deepEqual(page.wrong, []);
      });
    }

    test("the page is loaded anew, and goes on where the service stands", async () => {
      const file = makeFile(folder, "reloaded.bin", MANY);
      const held = holding(way, CHUNK);
      await open(way);
      await choose(file);
      await held.reached;
      await load(way);
      passed = [];
      await choose(file);
      await completed(way, file);
      assert.deepEqual(ranges(way), cut(MANY, CHUNK));
      held.open();
      assert.deepEqual(page.wrong, []);
    });

    test("paused, and the chunk on its way arrives late all the same", async () => {
      const file = makeFile(folder, "paused.bin", MANY);
      const held = holding(way, CHUNK);
      await open(way);
      await choose(file);
      await held.reached;
      await page.evaluate(() => void current.abort());
      held.open();
      await until(() => chunks(way).at(-1).status, "the late chunk");
      assert.equal(await page.evaluate(() => way.resume()), 2 * CHUNK);
      await completed(way, file);
      assert.deepEqual(ranges(way), cut(MANY), "nothing is sent twice");
    });

    test("cancelled, and the chunk that arrives late brings nothing back", async () => {
      const file = makeFile(folder, "cancelled.bin", MANY);
      const held = holding(way, CHUNK);
      await open(way);
      await choose(file);
      await held.reached;
      await page.evaluate(() => void current.abort());
      const answer = await page.evaluate(() => way.cancel());
      assert.deepEqual(answer, way.door === "raw" ? {} : null);
      held.open();
      const late = await until(() => chunks(way).at(-1).status && chunks(way).at(-1), "the late chunk");
      assert.deepEqual([late.range, late.status], [cut(MANY)[1], 410]);
      assert.equal(demo.unfinished().length, 0);
      assert.deepEqual(page.wrong, []);
    });
  });
}

test("the original's script deletes what another file left, with credentials in the body", async () => {
  const way = WAYS["raw, user's name and API key as the original's script sends them"];
  const [left, file] = [makeFile(folder, "left.bin", MANY), makeFile(folder, "other.bin", MANY - 7)];
  const held = holding(way, CHUNK);
  await open(way);
  await choose(left);
  await held.reached;
  await load(way);
  await choose(file);
  await completed(way, file);
  const removed = passed.filter(({ method, status }) => method === "DELETE" && status === 200);
  assert.equal(removed.length, 1);
  assert.ok(passed.some(({ method, url }) => method === "GET" && url.includes("api_key=")), "the probe's are in the query");
  held.open();
  assert.deepEqual(page.wrong, []);
});

// Pages of other origins in a real browser: what a listed one may send and read, and that another is kept out.
//
// The pages come from servers of their own, on other ports than the service, so each is another origin to the browser.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";

import { Demo, makeFile, openPage, signed, startBrowser, temporary } from "./support.mjs";

const folder = temporary("files");
const pages = [];
let demo, browser, page, listed, unlisted;

/** An empty page on a port of its own. */
async function origin() {
  const server = http.createServer((request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end("<!doctype html><title>elsewhere</title><link rel=icon href='data:,'>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  pages.push(server);
  return `http://127.0.0.1:${server.address().port}`;
}

before(async () => {
  [listed, unlisted] = [await origin(), await origin()];
  const config = path.join(folder, "chunkgate.toml");
  writeFileSync(config, `[cors]\nallowed_origins = "http://localhost, ${listed}"\n`);
  demo = await Demo.start(["--config", config]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  for (const server of pages) {
    server.closeAllConnections();
    server.close();
  }
  await demo?.kill();
});
afterEach(() => page?.close());

async function open(url) {
  page = await openPage(browser);
  await page.goto(url);
}

/** Posts the chunk from `start` on as the page would, and gives what the page can read of the answer. */
function post(file, start, end, headers, id) {
  return page.evaluate(
    async ({ url, name, text, range, headers, id }) => {
      const form = new FormData();
      if (id) form.append("upload_id", id);
      form.append("file", new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]), name);
      const options = { method: "POST", body: form, headers: { ...headers, "Content-Range": range }, credentials: "include" };
      try {
        const answer = await fetch(`${url}/chunked_upload/`, options);
        const read = (name) => answer.headers.get(name);
        const told = { range: read("Range"), ask: read("WWW-Authenticate"), request: read("X-Request-Id") };
        return { status: answer.status, ...told, body: await answer.json() };
      } catch (error) {
        return { failed: error.name };
      }
    },
    {
      url: demo.url,
      name: file.name,
      text: file.bytes.subarray(start, end).toString("base64"),
      range: `bytes ${start}-${end - 1}/${file.bytes.length}`,
      headers,
      id,
    },
  );
}

test("a page of a listed origin uploads, and reads where it stands", async () => {
  const file = makeFile(folder, "elsewhere.bin", 100_000);
  await open(listed);
  const first = await post(file, 0, 60_000, signed());
  assert.equal(first.status, 200);
  assert.equal(first.range, "0-59999");
  assert.ok(first.request, "the id of the request can be read");
  const id = first.body.upload_id;
  const last = await post(file, 60_000, 100_000, signed(), id);
  assert.deepEqual([last.status, last.range, last.body.offset], [200, "0-99999", 100_000]);
  const done = await page.evaluate(
    async ({ url, headers, form }) => {
      const body = new URLSearchParams(form);
      return (await fetch(`${url}/chunked_upload_complete/`, { method: "POST", headers, body })).status;
    },
    { url: demo.url, headers: signed(), form: { upload_id: id, md5: file.md5 } },
  );
  assert.equal(done, 200);
  await demo.assertStored(id, file);
  const removed = await page.evaluate(
    async ({ url, headers }) => (await fetch(url, { method: "DELETE", headers })).status,
    { url: `${demo.url}/api/v1/uploads/${id}`, headers: signed() },
  );
  assert.equal(removed, 204);
  assert.deepEqual(page.wrong, []);
});

test("a refusal is read as what it is", async () => {
  const file = makeFile(folder, "refused.bin", 1000);
  await open(listed);
  const refused = await post(file, 0, 1000, { ...signed(), "X-Signature": "0".repeat(64) });
  assert.equal(refused.status, 401);
  assert.match(refused.ask, /^Chunkgate realm=/);
  assert.equal(typeof refused.body.detail, "string");
});

test("a page of another origin is kept out by the browser", async () => {
  const file = makeFile(folder, "unlisted.bin", 1000);
  const before = (await demo.list()).length;
  await open(unlisted);
  assert.deepEqual(await post(file, 0, 1000, signed()), { failed: "TypeError" });
  assert.ok(page.wrong.some((text) => text.includes("CORS policy")), page.wrong.join("\n"));
  assert.equal((await demo.list()).length, before, "the preflight's refusal kept the chunk from being sent");
});

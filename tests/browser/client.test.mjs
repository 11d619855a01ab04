// The browser client in a real browser: the page comes from one origin, the service is another.
//
// `pages` is the site with the page; it signs. `way` is what the page knows as the service: everything passes it, and it
// can hold, refuse, alter and cut.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import {
  DROP, Demo, LOSE, PASS, Site, altered, gate, interrupted, makeFile, openPage, refused, signed, spoilt, startBrowser, temporary,
  until,
} from "./support.mjs";

const CHUNK = 256 * 1024;
const MIB = 1024 * 1024;
const folder = temporary("files");
let demo, pages, way, browser, page;

before(async () => {
  pages = await Site.start(null);
  const config = path.join(folder, "chunkgate.toml");
  writeFileSync(config, `[cors]\nallowed_origins = ["${pages.url}"]\nallow_credentials = false\n`);
  demo = await Demo.start(["--config", config]);
  way = await Site.start(demo);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await pages?.stop();
  await way?.stop();
  await demo?.kill();
});
afterEach(async () => {
  await page?.close();
  pages.reset();
  way.reset();
});

async function open(options = { chunk_size: CHUNK }, service = way.url) {
  page = await openPage(browser);
  const query = new URLSearchParams({ service, options: JSON.stringify(options) });
  await page.goto(`${pages.url}/site/client.html?${query}`);
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
}

const choose = (...files) => page.setInputFiles("input[type=file]", files.map((file) => file.path));
const card = (file) => page.locator(".cg-card", { hasText: file.name });
const button = (file, text) => card(file).getByRole("button", { name: `${text} ${file.name}`, exact: true });
const problem = (file) => card(file).locator(".cg-problem");
const state = (file, text) => card(file).locator(".cg-badge", { hasText: new RegExp(`^${text}$`) }).waitFor();
const idOf = (file) => page.evaluate((name) => uploader.queue.uploads.find((upload) => upload.file.name === name).id, file.name);
const starts = () => way.chunks.map((chunk) => chunk.start / CHUNK);

/** Waits until the page says complete; the stored file is the one that was chosen. */
async function completed(file) {
  await state(file, "complete");
  const id = await idOf(file);
  await demo.assertStored(id, file);
  return id;
}

/** Holds the chunk that begins at `start`, once. */
function holding(start) {
  const held = gate();
  once(start, () => held.hold().then(() => PASS));
  return held;
}

/** Applies `deed` to the first passage of the chunk that begins at `start`. */
function once(start, deed) {
  let done = false;
  way.rule = (chunk) => {
    if (done || chunk.start !== start) return PASS;
    done = true;
    return deed(chunk);
  };
}

/** What the browser complains of by itself when it is refused something. */
const complaints = () => page.wrong.filter((text) => !text.startsWith("Failed to load resource"));

test("200 MiB that the page made arrive as they were", async () => {
  await open({}, demo.url);
  const sum = page.evaluate((size) => generated("large.bin", size), 200 * MIB);
  const file = { name: "large.bin" };
  await until(async () => /MiB of 200 MiB · .*\/s · .* left/.test(await card(file).locator(".cg-facts").textContent()), "rate and time");
  await card(file).locator(".cg-complete").waitFor({ timeout: 120_000 });
  const id = await idOf(file);
  const [stored] = demo.filesOf(id);
  const bytes = readFileSync(stored);
  assert.equal(bytes.length, 200 * MIB);
  assert.equal(createHash("sha256").update(bytes).digest("hex"), await sum);
  const url = `${demo.url}/api/v1/uploads/${id}/content`;
  assert.deepEqual(await page.evaluate(() => events), ["start", `url ${url}`, "complete"]);
  assert.deepEqual(page.wrong, []);
});

/** What a chunk proved itself with. */
function proofOf({ headers }) {
  return headers["upload-token"] ? "token" : headers["x-signature"] && "signature";
}

test("pause and resume", async () => {
  const file = makeFile(folder, "paused ä.bin", 5 * CHUNK + 7);
  const held = holding(2 * CHUNK);
  await open();
  await choose(file);
  await held.reached;
  await button(file, "Pause").click();
  await state(file, "paused");
  assert.match(await card(file).locator(".cg-facts").textContent(), /^512 KiB of 1\.3 MiB$/);
  await button(file, "Resume").click();
  await completed(file);
  held.open();
  assert.deepEqual(starts(), [0, 1, 2, 2, 3, 4, 5]);
  assert.ok(way.chunks.every(({ headers }) => proofOf({ headers }) && !headers.cookie), "proved, and without cookies");
  assert.deepEqual(await page.evaluate(() => events.slice(0, 3)), ["start", "stop", "start"]);
  assert.deepEqual(page.wrong, []);
});

test("a page that was closed in the middle goes on at the offset", async () => {
  const file = makeFile(folder, "closed.bin", 8 * CHUNK);
  const held = holding(5 * CHUNK);
  await open();
  await choose(file);
  await held.reached;
  const id = await idOf(file);
  await page.close();
  held.open();
  // What was on its way may have arrived or not; the service says.
  const sent = way.chunks.length;
  await open();
  await choose(file);
  assert.equal(await completed(file), id);
  const { start } = way.chunks[sent];
  assert.ok(start >= 5 * CHUNK, `begins again at ${start}`);
  const again = way.chunks.slice(sent).reduce((sum, chunk) => sum + chunk.body.length, 0);
  assert.equal(again, file.bytes.length - start);
  assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0, "a complete upload is not remembered");
  assert.deepEqual(page.wrong, []);
});

test("cancel removes row and file, also when the first answer is not there yet", async () => {
  const files = [makeFile(folder, "cancelled.bin", 4 * CHUNK), makeFile(folder, "at once.bin", 4 * CHUNK)];
  for (const [file, start] of [[files[0], 2 * CHUNK], [files[1], 0]]) {
    const held = holding(start);
    await open();
    await choose(file);
    await held.reached;
    await button(file, "Cancel").click();
    await card(file).waitFor({ state: "detached" });
    held.open();
    const gone = async () => (await demo.list()).find((upload) => upload.filename === file.name && upload.state === "cancelled");
    const upload = await until(gone, "the upload to be cancelled");
    assert.equal((await demo.ask(`/api/v1/uploads/${upload.id}`)).status, 410);
    assert.deepEqual(demo.filesOf(upload.id), []);
    assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0);
    assert.deepEqual(complaints(), []);
    await page.close();
  }
  assert.deepEqual(await demo.list("receiving"), []);
});

describe("what goes wrong is shown, and survived", () => {
  test("nobody is signed in", async () => {
    const file = makeFile(folder, "unsigned.bin", 3 * CHUNK);
    pages.sign = () => null;
    await open();
    await choose(file);
    await state(file, "failed");
    assert.match(await problem(file).textContent(), /^You are not signed in.*try again/i);
    pages.reset();
    await button(file, "Try again").click();
    await completed(file);
  });

  test("a 401 in the middle, from the service itself", async () => {
    const file = makeFile(folder, "refused.bin", 4 * CHUNK);
    way.rule = (chunk) => (chunk.start === 2 * CHUNK ? spoilt(chunk) : PASS);
    await open();
    await choose(file);
    await state(file, "failed");
    assert.match(await problem(file).textContent(), /^You are not signed in.*goes on where it stands/i);
    assert.ok(way.chunks.some((chunk) => chunk.status === 401));
    assert.ok((await page.evaluate(() => events)).includes("error"));
    const sent = way.chunks.length;
    way.rule = () => PASS;
    await button(file, "Try again").click();
    await completed(file);
    assert.deepEqual(starts().slice(sent), [2, 3]);
  });

  test("a 503, and Retry-After", async () => {
    const file = makeFile(folder, "busy.bin", 4 * CHUNK);
    const readable = { "Access-Control-Allow-Origin": pages.url, "Access-Control-Expose-Headers": "Retry-After" };
    once(2 * CHUNK, () => refused(503, { ...readable, "Retry-After": "2" }));
    await open();
    await choose(file);
    await state(file, "waiting");
    assert.equal(await problem(file).textContent(), "The service is busy or restarting. Trying again in 2 s.");
    assert.equal(await page.getByRole("status").textContent(), `${file.name}: waiting. The service is busy or restarting. Trying again in 2 s.`);
    const since = performance.now();
    await state(file, "sending|checking|complete");
    assert.ok(performance.now() - since > 1500, "not before the time was over");
    await completed(file);
    assert.deepEqual(starts(), [0, 1, 2, 2, 3]);
  });

  test("a cable that is pulled in the middle of a chunk", async () => {
    const file = makeFile(folder, "cut.bin", 4 * CHUNK);
    way.fresh = true;
    once(2 * CHUNK, () => interrupted(async () => ((way.cut = true), way.hangUp())));
    await open();
    await choose(file);
    await state(file, "waiting");
    assert.match(await problem(file).textContent(), /^The connection is cut: the service cannot be reached\. Trying again in \d+ s\.$/);
    way.cut = false;
    await button(file, "Try now").click();
    await completed(file);
  });

  test("a browser that goes offline waits for the network", async () => {
    const file = makeFile(folder, "offline.bin", 4 * CHUNK);
    const held = holding(2 * CHUNK);
    await open();
    await choose(file);
    await held.reached;
    await browser.setOffline(true);
    way.hangUp();
    await state(file, "waiting");
    assert.match(await problem(file).textContent(), /^You are offline/);
    held.open();
    await browser.setOffline(false);
    await completed(file);
  });

  test("a lost answer, and a restart of the service", async () => {
    const file = makeFile(folder, "lost.bin", 6 * CHUNK);
    way.fresh = true;
    const first = ({ start }) => starts().filter((at) => at === start / CHUNK).length === 1;
    way.rule = async (chunk) => {
      if (chunk.start === CHUNK && first(chunk)) return LOSE;
      if (chunk.start !== 3 * CHUNK || !first(chunk)) return PASS;
      await demo.kill();
      return DROP;
    };
    await open();
    await choose(file);
    await until(() => way.chunks.some((chunk) => chunk.start === 3 * CHUNK), "the third chunk");
    await state(file, "waiting");
    await demo.start();
    await completed(file);
    const id = await idOf(file);
    assert.ok(way.requests.includes(`GET /api/v1/uploads/${id}`), "the service is asked where to go on");
  });

  test("bytes that were changed on the way", async () => {
    const file = makeFile(folder, "damaged.bin", 3 * CHUNK);
    once(CHUNK, ({ body }) => altered({ body: Buffer.from(body).fill(0, 100, 200) }));
    await open();
    await choose(file);
    await state(file, "failed");
    assert.match(await problem(file).textContent(), /^What arrived is not this file/);
    const damaged = await idOf(file);
    await button(file, "Try again").click();
    await state(file, "complete");
    assert.notEqual(await completed(file), damaged);
    assert.deepEqual(demo.filesOf(damaged), []);
  });

  test("an upload that is no longer there begins anew", async () => {
    const file = makeFile(folder, "gone.bin", 3 * CHUNK);
    const held = holding(2 * CHUNK);
    await open();
    await choose(file);
    await held.reached;
    await button(file, "Pause").click();
    const id = await idOf(file);
    await fetch(`${demo.url}/api/v1/uploads/${id}`, { method: "DELETE", headers: signed() });
    held.open();
    await button(file, "Resume").click();
    assert.notEqual(await completed(file), id);
  });
});

describe("credentials", () => {
  test("are asked for once, and again when they are refused in the middle", async () => {
    const file = makeFile(folder, "renewed.bin", 5 * CHUNK);
    once(2 * CHUNK, spoilt);
    await open();
    await choose(file);
    await completed(file);
    assert.deepEqual(way.chunks.map((chunk) => chunk.status), [200, 200, 401, 200, 200, 200]);
    assert.equal(pages.signed, 2);
    assert.equal(await page.evaluate(() => events.includes("error")), false);
  });

  test("a token takes their place, never beside them, until it is refused", async () => {
    const file = makeFile(folder, "token.bin", 6 * CHUNK);
    once(3 * CHUNK, spoilt);
    await open();
    await choose(file);
    await completed(file);
    const proofs = ["signature", "token", "token", "token", "signature", "token", "token"];
    assert.deepEqual(way.chunks.map(proofOf), proofs);
    assert.ok(way.chunks.every(({ headers }) => !headers["upload-token"] || !headers["x-api-key"]));
    assert.equal(pages.signed, 2);
  });
});

test("two files at once, and a third waits for its turn", async () => {
  const files = ["one.bin", "two.bin", "three.bin"].map((name) => makeFile(folder, name, 3 * CHUNK));
  const held = gate();
  let waiting = 0;
  way.rule = async (chunk) => {
    if (chunk.start !== CHUNK) return PASS;
    if (++waiting === 2) held.reach();
    await held.opened;
    return PASS;
  };
  await open({ chunk_size: CHUNK, limit: 2 });
  await choose(...files);
  await held.reached;
  await state(files[2], "queued");
  held.open();
  for (const file of files) await completed(file);
  assert.deepEqual(page.wrong, []);
});

test("by keyboard alone", async () => {
  const file = makeFile(folder, "keyboard.bin", 4 * CHUNK);
  const held = holding(2 * CHUNK);
  await open();
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.type);
  const walk = async (name) => {
    for (let steps = 0; (await focused()) !== name; steps++) {
      assert.ok(steps < 20, `${name} cannot be reached by Tab`);
      await page.keyboard.press("Tab");
    }
    const outlined = () => [...document.querySelectorAll(":focus-visible, :focus-visible + label")].some((one) => getComputedStyle(one).outlineStyle === "solid");
    assert.ok(await page.evaluate(outlined), `${name} shows that it is in focus`);
  };
  const chooser = page.waitForEvent("filechooser");
  await walk("file");
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(file.path);
  await held.reached;
  await walk(`Pause ${file.name}`);
  await page.keyboard.press("Enter");
  await state(file, "paused");
  assert.equal(await focused(), `Resume ${file.name}`, "the focus stays where it was");
  await page.keyboard.press("Space");
  await completed(file);
  held.open();
  assert.equal(await page.getByRole("status").textContent(), `${file.name}: complete`);
  await walk(`Dismiss ${file.name}`);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "file", "the focus has somewhere to go");
  assert.equal(await card(file).count(), 0);
  assert.deepEqual(page.wrong, []);
});

describe("policies of pages", () => {
  const policy = (worker) =>
    `default-src 'none'; script-src 'self' ${way.url}; style-src ${way.url}; connect-src 'self' ${way.url}; img-src data:; worker-src ${worker}`;

  for (const [what, allowed] of [["the documented one", true], ["one that forbids workers", false]]) {
    test(what, async () => {
      const file = makeFile(folder, `policy ${allowed}.bin`, 3 * CHUNK);
      pages.policy = policy(allowed ? `blob: ${way.url}` : "'none'");
      await open();
      await page.evaluate(() => {
        globalThis.answers = 0;
        globalThis.Worker = class extends Worker {
          constructor(...given) {
            super(...given);
            this.addEventListener("message", () => answers++);
          }
        };
      });
      await choose(file);
      await completed(file);
      const blocked = page.wrong.filter((text) => text.includes("Content Security Policy"));
      assert.equal(blocked.length > 0, !allowed, blocked.join("\n"));
      assert.equal(await page.evaluate(() => answers), allowed ? 1 : 0, "the md5 comes from a worker where one may be");
    });
  }
});

test("empty files, and a name that no header could carry", async () => {
  const files = [makeFile(folder, "empty.bin", 0), makeFile(folder, 'a "quoted" 100% ☃.bin', 10)];
  await open();
  await choose(...files);
  for (const file of files) {
    const id = await completed(file);
    assert.equal((await demo.status(id)).filename, file.name);
  }
});

test("the page to copy works with the globals of django-chunked-uploads", async () => {
  const file = makeFile(folder, "copied.bin", 3 * CHUNK);
  const held = holding(CHUNK);
  page = await openPage(browser);
  await page.addInitScript(
    (service) => {
      globalThis.heard = [];
      globalThis.chunked_uploads_endpoints = {
        upload_url: `${service}/chunked_uploads/upload/`,
        done_url: `${service}/chunked_uploads/upload/done/00000000-0000-0000-0000-000000000000/`,
        authentication: () => fetch("/credentials").then((answer) => answer.json()),
        chunk_size: 256 * 1024,
      };
      globalThis.chunked_uploads_complete = () => heard.push("complete");
      globalThis.chunked_uploads_video_url = (url) => heard.push(url);
    },
    way.url,
  );
  pages.service = way.url;
  await page.goto(`${pages.url}/site/partial.html`);
  await page.setInputFiles("#fileupload", file.path);
  await state(file, "ready");
  await page.getByRole("button", { name: "Start" }).click();
  await held.reached;
  await page.getByRole("button", { name: "Pause" }).click();
  await state(file, "paused");
  await page.getByRole("button", { name: "Resume" }).click();
  held.open();
  await state(file, "complete");
  const [upload] = await demo.list("complete");
  await demo.assertStored(upload.id, file);
  assert.deepEqual(await page.evaluate(() => heard), [`${way.url}/api/v1/uploads/${upload.id}/content`, "complete"]);
  assert.deepEqual(page.wrong, []);
});

test("a bundler or Node.js may import it without a page", async () => {
  const client = await import("../../assets/client/chunkgate.mjs");
  assert.deepEqual(Object.keys(client).sort(), ["ChunkedUpload", "UploadQueue", "WORDS", "bytes", "duration", "mountUploader"]);
  const file = makeFile(folder, "node.bin", 2 * CHUNK + 1);
  const { File } = await import("node:buffer");
  const upload = new client.ChunkedUpload(new File([file.bytes], file.name), {
    uploadUrl: `${demo.url}/chunked_uploads/upload`,
    chunkSize: CHUNK,
    authentication: async () => {
      const headers = signed();
      return { apiKey: headers["X-Api-Key"], timestamp: headers["X-Timestamp"], signature: headers["X-Signature"] };
    },
  });
  assert.equal(await upload.start(), "complete");
  await demo.assertStored(upload.id, file);
});

// jQuery-File-Upload in a real browser against the multipart door: its plain wire as the demo page of
// django-chunked-upload uses it, and the page code that proto-docs/multipart.md gives for what can go wrong.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { DROP, Demo, LOSE, PASS, Site, delayed, gate, interrupted, makeFile, openPage, startBrowser, temporary, until } from "./support.mjs";

const CHUNK = 256 * 1024;
const MANY = 2.5 * 1024 * 1024;
const folder = temporary("files");
let demo, site, browser, page;

before(async () => {
  demo = await Demo.start();
  site = await Site.start(demo);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await demo?.kill();
});
afterEach(async () => {
  await page?.close();
  site.reset();
});

async function open(way) {
  page = await openPage(browser);
  await page.goto(`${site.url}/site/page.html?way=${way}`);
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
}

const choose = (...files) => page.setInputFiles("#file", files.map((file) => file.path));

/** Waits for the ends of uploads; asserts that each completed and that its file is there, and gives them by name. */
async function completed(...files) {
  const ends = await until(async () => {
    const results = await page.evaluate(() => results);
    return results.length >= files.length && results;
  }, "the ends of the uploads");
  assert.equal(ends.length, files.length);
  for (const file of files) {
    const end = ends.find((end) => end.name === file.name);
    assert.deepEqual({ ...end, id: undefined }, { name: file.name, id: undefined, status: 200, body: {} });
    await demo.assertStored(end.id, file);
  }
  return Object.fromEntries(ends.map((end) => [end.name, end.id]));
}

/** The ranges of a file of `size` bytes, sent in whole chunks from `start` up to `end`. */
function ranges(size, start = 0, end = size) {
  const all = [];
  for (let at = start; at < end; at += CHUNK) all.push(`bytes ${at}-${Math.min(at + CHUNK, size) - 1}/${size}`);
  return all;
}

const sent = () => site.chunks.map((chunk) => chunk.range);

/** Applies `way` to the first passage of the chunk that begins at `start`. */
function once(start, way) {
  let done = false;
  site.rule = (chunk) => {
    if (done || chunk.start !== start) return PASS;
    done = true;
    return way;
  };
}

describe("the plain wire", () => {
  for (const [what, name, size] of [
    ["a file below one chunk", "below.bin", 100_000],
    ["exactly one chunk", "exact.bin", CHUNK],
    ["an empty file", "empty.bin", 0],
  ]) {
    test(`${what} is one form without a range`, async () => {
      const file = makeFile(folder, name, size);
      await open("plain");
      await choose(file);
      await completed(file);
      const chunks = site.chunks.map(({ range, disposition, fields, status }) => ({ range, disposition, fields, status }));
      assert.deepEqual(chunks, [{ range: undefined, disposition: undefined, fields: ["file"], status: 200 }]);
      assert.deepEqual(page.wrong, []);
    });
  }

  test("many chunks, the id before the file from the second on", async () => {
    const file = makeFile(folder, "mány chunks; 100%.bin", MANY + 1);
    await open("plain");
    await choose(file);
    const ids = await completed(file);
    assert.deepEqual(sent(), ranges(MANY + 1));
    const [first, ...others] = site.chunks;
    assert.deepEqual(first.fields, ["file"]);
    for (const chunk of others) {
      assert.deepEqual(chunk.fields, ["upload_id", "file"]);
      assert.equal(chunk.uploadId, ids[file.name]);
      assert.equal(chunk.disposition, `attachment; filename="${encodeURI(file.name)}"`);
    }
    assert.equal((await demo.status(ids[file.name])).filename, file.name);
    assert.deepEqual(page.wrong, []);
  });

  test("two files at once, each with its own id", async () => {
    const files = [makeFile(folder, "left.bin", MANY), makeFile(folder, "right.bin", MANY - 1)];
    // Neither may go on before both have begun.
    const both = gate();
    let begun = 0;
    site.rule = async () => {
      if (++begun === 2) both.open();
      await both.hold();
      return PASS;
    };
    await open("plain");
    await choose(...files);
    const ids = await completed(...files);
    assert.notEqual(ids["left.bin"], ids["right.bin"]);
    for (const file of files) {
      const own = site.chunks.filter((chunk) => chunk.range?.endsWith(`/${file.bytes.length}`));
      assert.deepEqual(own.map((chunk) => chunk.range), ranges(file.bytes.length));
      assert.deepEqual([...new Set(own.slice(1).map((chunk) => chunk.uploadId))], [ids[file.name]]);
    }
  });
});

for (const way of ["plain", "recover"]) {
  describe(`pause and resume, ${way}`, () => {
    test("while a chunk is on its way: it is sent again", async () => {
      const file = makeFile(folder, `paused-${way}.bin`, MANY);
      const held = gate();
      site.rule = async (chunk) => (chunk.start === 3 * CHUNK && (await held.hold()), PASS);
      await open(way);
      await choose(file);
      await held.reached;
      await page.evaluate((name) => void uploads[name].abort(), file.name);
      site.rule = () => PASS;
      assert.equal(await page.evaluate((name) => resume(name), file.name), 3 * CHUNK);
      await completed(file);
      held.open();
      assert.deepEqual(sent(), [...ranges(MANY, 0, 4 * CHUNK), ...ranges(MANY, 3 * CHUNK)]);
    });

    test("while an answer is on its way: the status knows of the chunk", async () => {
      const file = makeFile(folder, `paused-late-${way}.bin`, MANY);
      const late = gate();
      once(3 * CHUNK, delayed(late));
      await open(way);
      await choose(file);
      await late.reached;
      await page.evaluate((name) => void uploads[name].abort(), file.name);
      assert.equal(await page.evaluate((name) => resume(name), file.name), 4 * CHUNK);
      await completed(file);
      late.open();
      assert.deepEqual(sent(), ranges(MANY));
    });
  });
}

describe("the page code of the documents", () => {
  const asked = (id) => site.requests.filter((request) => request === `GET /api/v1/uploads/${id}`).length;
  const LAST = MANY - CHUNK;

  test("does nothing of its own where nothing goes wrong", async () => {
    const files = [makeFile(folder, "fine.bin", MANY), makeFile(folder, "fine-small.bin", 10), makeFile(folder, "fine-empty.bin", 0)];
    await open("recover");
    await choose(...files);
    const ids = await completed(...files);
    assert.deepEqual(sent().filter(Boolean), ranges(MANY));
    assert.equal(site.chunks.length, ranges(MANY).length + 2);
    assert.equal(asked(ids["fine.bin"]), 0);
    assert.deepEqual(page.wrong, []);
  });

  for (const [what, name, start] of [
    ["in the middle", "lost-middle", 4 * CHUNK],
    ["of the last chunk", "lost-last", LAST],
  ]) {
    test(`a lost answer ${what}: asks for the status and goes on`, async () => {
      const file = makeFile(folder, `${name}.bin`, MANY);
      site.fresh = true;
      once(start, LOSE);
      await open("recover");
      await choose(file);
      const ids = await completed(file);
      assert.deepEqual(sent(), ranges(MANY), "nothing is sent twice");
      assert.equal(asked(ids[file.name]), 1);
    });

    test(`a lost answer ${what} on a kept connection, where browsers repeat the chunk by themselves`, async () => {
      const file = makeFile(folder, `${name}-kept.bin`, MANY);
      once(start, LOSE);
      await open("recover");
      await choose(file);
      const ids = await completed(file);
      if (asked(ids[file.name]) > 0) return assert.deepEqual(sent(), ranges(MANY));
      assert.deepEqual(sent(), [...ranges(MANY, 0, start + CHUNK), ...ranges(MANY, start)]);
      const refused = site.chunks.filter((chunk) => chunk.status !== 200);
      assert.deepEqual(refused.map(({ start, status }) => ({ start, status })), [{ start, status: 400 }]);
    });
  }

  test("a chunk that never arrived is sent again", async () => {
    const file = makeFile(folder, "dropped.bin", MANY);
    site.fresh = true;
    once(2 * CHUNK, DROP);
    await open("recover");
    await choose(file);
    await completed(file);
    assert.deepEqual(sent(), [...ranges(MANY, 0, 3 * CHUNK), ...ranges(MANY, 2 * CHUNK)]);
  });

  for (const [what, name, size] of [
    ["the first chunk", "lost-first.bin", MANY],
    ["a file below one chunk", "lost-small.bin", 1000],
  ]) {
    test(`a lost answer to ${what}: begins anew`, async () => {
      const file = makeFile(folder, name, size);
      site.fresh = true;
      once(0, LOSE);
      await open("recover");
      await choose(file);
      const ids = await completed(file);
      const orphans = (await demo.list("receiving")).filter((upload) => upload.filename === name);
      assert.equal(orphans.length, 1);
      assert.notEqual(orphans[0].id.replaceAll("-", ""), ids[name]);
    });
  }

  test("the service is killed in the middle of a chunk and comes back", async () => {
    const file = makeFile(folder, "killed.bin", MANY);
    let id;
    site.fresh = true;
    once(5 * CHUNK, interrupted(async () => {
      id = site.chunks.at(-1).uploadId;
      await demo.kill();
    }));
    await open("recover");
    await choose(file);
    await until(() => id && page.evaluate((name) => uploads[name].files[0].failures >= 1, file.name), "the page to notice");
    await demo.start();
    const upload = await demo.status(id);
    assert.deepEqual([upload.state, upload.offset], ["receiving", 5 * CHUNK]);
    const ids = await completed(file);
    assert.equal(ids[file.name], id);
    assert.deepEqual(sent(), [...ranges(MANY, 0, 6 * CHUNK), ...ranges(MANY, 5 * CHUNK)]);
  });

  test("two files at once, each losing an answer", async () => {
    const files = [makeFile(folder, "one.bin", MANY), makeFile(folder, "two.bin", MANY - 1)];
    const lost = new Set();
    site.fresh = true;
    site.rule = ({ uploadId, start }) => {
      if (start !== 3 * CHUNK || lost.has(uploadId)) return PASS;
      lost.add(uploadId);
      return LOSE;
    };
    await open("recover");
    await choose(...files);
    const ids = await completed(...files);
    assert.deepEqual([...lost].sort(), Object.values(ids).sort());
  });

  test("what is refused for good is reported", async () => {
    const file = makeFile(folder, "cancelled.bin", MANY);
    const held = gate();
    site.rule = async (chunk) => (chunk.start === 3 * CHUNK && (await held.hold()), PASS);
    await open("recover");
    await choose(file);
    await held.reached;
    const { uploadId } = site.chunks.at(-1);
    assert.equal((await demo.ask(`/api/v1/uploads/${uploadId}`, { method: "DELETE" })).status, 204);
    held.open();
    const ends = await until(async () => (await page.evaluate(() => results)).length && page.evaluate(() => results), "the end");
    assert.deepEqual(ends, [{ name: file.name, why: "Upload has been cancelled" }]);
    assert.deepEqual(demo.filesOf(uploadId), []);
  });
});

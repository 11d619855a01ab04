// tus-js-client on a page of another origin, every request signed by v2 for it, at a service that takes nothing weaker: as
// proto-docs/tus.md says to write it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Crossing, recipe } from "./crossing.mjs";
import { makeFile, temporary, until } from "./support.mjs";

const CHUNK = 8 * 1024 * 1024;
const SIZE = 2 * CHUNK + 17;
const STRICT = `[auth.signature]\nmin_scheme = "v2"\ncontent_digest = "required"\n`;
const folder = temporary("files");
let crossing, page;

before(async () => {
  crossing = await Crossing.start({ "recipe.js": (at) => `${recipe("proof", at)}\n${recipe("v2", at)}` }, STRICT);
});
after(() => crossing?.stop());
afterEach(async () => {
  await page?.close();
  crossing.sent = [];
});

async function choose(file) {
  page = await crossing.open("tus.html");
  await page.setInputFiles("#file", file.path);
}

async function completed(file) {
  const { url, why } = await until(() => page.evaluate(() => outcome), "the upload's end");
  assert.ok(url, why);
  const id = url.split("/").at(-1);
  // What asks here signs by v1.
  const [stored] = await until(() => crossing.demo.filesOf(id), "the file");
  assert.ok(stored.includes("chunked_uploads"), stored);
  crossing.assertBytes(id, file);
  return id;
}

const of = (method) => crossing.sent.filter((one) => one.method === method);

test("each request under a signature of its own, each chunk with its digest", async () => {
  const file = makeFile(folder, "signed.bin", SIZE);
  await choose(file);
  await page.evaluate(() => beginSigned());
  await completed(file);
  assert.deepEqual(crossing.methods(), ["POST", "PATCH", "PATCH", "PATCH"]);
  const signatures = crossing.sent.map(({ headers }) => headers.signature);
  assert.equal(new Set(signatures).size, 4);
  assert.ok(of("PATCH").every(({ headers }) => headers["content-digest"] && !headers["upload-token"]));
  assert.deepEqual(page.wrong, []);
});

test("left in the middle of a chunk, which then counts for nothing", async () => {
  const file = makeFile(folder, "left.bin", SIZE);
  const line = crossing.line.holdAfter(CHUNK + (CHUNK >> 1));
  await choose(file);
  await page.evaluate(() => beginSigned());
  await line.reached;
  await page.evaluate(() => current.abort());
  line.drop();
  await page.evaluate(() => current.start());
  await completed(file);
  assert.deepEqual(of("PATCH").map(({ offset }) => Number(offset)), [0, CHUNK, CHUNK, 2 * CHUNK]);
});

test("the first under a signature, and the bytes in one request under the token", async () => {
  const file = makeFile(folder, "token.bin", SIZE);
  await choose(file);
  await page.evaluate(() => {
    sign = signRequest;
    begin();
  });
  await completed(file);
  assert.deepEqual(crossing.methods(), ["POST", "PATCH"]);
  const [patch] = of("PATCH");
  assert.ok(patch.headers["upload-token"] && !patch.headers["content-digest"] && !patch.headers.signature);
});

test("a chunk that is not what its digest says is not taken", async () => {
  await choose(makeFile(folder, "exchanged.bin", SIZE));
  await page.evaluate(() => {
    const { onBeforeRequest } = provingEach(new Blob(["what somebody else has sent"]));
    begin({ onBeforeRequest, onAfterResponse: null });
  });
  const { why } = await until(() => page.evaluate(() => outcome), "a refusal");
  assert.match(why, /digest/i);
  assert.equal(of("PATCH")[0].status, 460);
});

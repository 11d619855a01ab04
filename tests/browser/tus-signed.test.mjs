// tus-js-client on a page of another origin, every request signed by v2 for it, at a service that takes nothing weaker: as
// proto-docs/tus.md says to write it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Crossing, recipe } from "./crossing.mjs";
import { makeFile, temporary } from "./support.mjs";

const CHUNK = 8 * 1024 * 1024;
const SIZE = 2 * CHUNK + 17;
const STRICT = `[auth.signature]\nmin_scheme = "v2"\ncontent_digest = "required"\n`;
const folder = temporary("files");
const crossing = new Crossing({ "recipe.js": (at) => `${recipe("proof", at)}\n${recipe("v2", at)}` }, STRICT);

const of = (method) => crossing.sent.filter((one) => one.method === method);

test("each request under a signature of its own, each chunk with its digest", async () => {
  const file = makeFile(folder, "signed.bin", SIZE);
  await crossing.choose(file);
  await crossing.page.evaluate(() => beginSigned());
  await crossing.completed(file);
  assert.deepEqual(crossing.methods(), ["POST", "PATCH", "PATCH", "PATCH"]);
  const signatures = crossing.sent.map(({ headers }) => headers.signature);
  assert.equal(new Set(signatures).size, 4);
  assert.ok(of("PATCH").every(({ headers }) => headers["content-digest"] && !headers["upload-token"]));
  assert.deepEqual(crossing.page.wrong, []);
});

test("left in the middle of a chunk, which then counts for nothing", async () => {
  const file = makeFile(folder, "left.bin", SIZE);
  const line = crossing.line.holdAfter(CHUNK + (CHUNK >> 1));
  await crossing.choose(file);
  await crossing.page.evaluate(() => beginSigned());
  await line.reached;
  await crossing.page.evaluate(() => current.abort());
  line.drop();
  await crossing.page.evaluate(() => current.start());
  await crossing.completed(file);
  assert.deepEqual(of("PATCH").map(({ offset }) => Number(offset)), [0, CHUNK, CHUNK, 2 * CHUNK]);
});

test("the first under a signature, and the bytes in one request under the token", async () => {
  const file = makeFile(folder, "token.bin", SIZE);
  await crossing.choose(file);
  await crossing.page.evaluate(() => {
    sign = signRequest;
    begin();
  });
  await crossing.completed(file);
  assert.deepEqual(crossing.methods(), ["POST", "PATCH"]);
  const [patch] = of("PATCH");
  assert.ok(patch.headers["upload-token"] && !patch.headers["content-digest"] && !patch.headers.signature);
});

test("a chunk that is not what its digest says is not taken", async () => {
  await crossing.choose(makeFile(folder, "exchanged.bin", SIZE));
  await crossing.page.evaluate(() => {
    const { onBeforeRequest } = provingEach(new Blob(["what somebody else has sent"]));
    begin({ onBeforeRequest, onAfterResponse: null });
  });
  const { why } = await crossing.outcome();
  assert.match(why, /digest/i);
  assert.equal(of("PATCH")[0].status, 460);
});

// tus-js-client on a page of another origin, every request signed by v2 for it, at a service that takes nothing weaker: as
// proto-docs/tus.md says to write it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Crossing, recipe } from "./crossing.mjs";
import { makeFile, temporary, until } from "./support.mjs";

const CHUNK = 8 * 1024 * 1024;
const SIZE = 2 * CHUNK + 17;
const STRICT = `[auth.signature]\nmin_scheme = "v2"\ncontent_digest = "required"\n`;
const folder = temporary("files");
const crossing = new Crossing({ "recipe.js": (at) => `${recipe("proof", at)}\n${recipe("v2", at)}` }, STRICT);

const STREAMS = 4;
/** A page whose `proof` signs by v2. */
const beginInStreams = () =>
  crossing.page.evaluate((parallelUploads) => {
    sign = signRequest;
    begin({ parallelUploads, onShouldRetry: (error) => isOver(error) || tus.defaultOptions.onShouldRetry(error) });
  }, STREAMS);
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

test("in four streams: what makes an upload is signed for what it makes, and bytes go under tokens", async () => {
  const file = makeFile(folder, "streams ä.bin", SIZE);
  await crossing.choose(file);
  await beginInStreams();
  await crossing.completed(file);
  const posts = of("POST").map(({ headers }) => headers);
  assert.equal(posts.length, STREAMS + 1);
  assert.deepEqual(posts.map((headers) => headers["upload-concat"].split(";")[0]), [...Array(STREAMS).fill("partial"), "final"]);
  assert.ok(posts.every((headers) => headers["signature-input"].includes('"upload-concat"') && !headers["upload-token"]));
  assert.equal(new Set(posts.map((headers) => headers.signature)).size, STREAMS + 1);
  const tokens = of("PATCH").map(({ headers }) => headers["upload-token"]);
  assert.deepEqual([tokens.length, new Set(tokens).size], [STREAMS, STREAMS], "each stream has a token of its own");
  assert.ok(of("PATCH").every(({ headers }) => !headers.signature && !headers["content-digest"]));
  assert.deepEqual(crossing.page.wrong, []);
});

test("four streams go on under their tokens after the cable was pulled", async () => {
  const file = makeFile(folder, "streams cut.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.choose(file);
  await beginInStreams();
  await line.reached;
  crossing.line.cut();
  await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
  crossing.line.mend();
  await crossing.completed(file);
  assert.equal(of("POST").length, STREAMS + 1, "nothing was begun anew");
  assert.ok(of("HEAD").every(({ headers }) => headers.signature));
  assert.ok(of("PATCH").every(({ headers }) => headers["upload-token"] && !headers.signature));
});

test("a list of parts that its signature does not cover joins nothing", async () => {
  await crossing.choose(makeFile(folder, "uncovered.bin", SIZE));
  await crossing.page.evaluate((parallelUploads) => {
    sign = (request) => {
      const isList = request.getHeader("Upload-Concat")?.startsWith("final;");
      // Whoever is on the way could make another list of it.
      return signRequest(request, isList ? COVERED.filter((name) => name !== "Upload-Concat") : COVERED);
    };
    begin({ parallelUploads });
  }, STREAMS);
  const { why } = await crossing.outcome();
  assert.match(why, /does not cover upload-concat/);
  assert.deepEqual(of("POST").map(({ status }) => status), [...Array(STREAMS).fill(201), 400]);
});

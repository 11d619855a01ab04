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
const RECIPES = ["proof", "v2-sign", "v2-token", "v2"];
const crossing = new Crossing({ "recipe.js": (at) => RECIPES.map((name) => recipe(name, at)).join("\n") }, STRICT);

const STREAMS = 4;
/** Each stream under a token of its own, which is asked for anew when it is over. */
const beginInStreams = (parallelUploads = STREAMS) =>
  crossing.page.evaluate((parallelUploads) => {
    sign = signOrRenew;
    begin({ parallelUploads, onShouldRetry: (error) => isOver(error) || tus.defaultOptions.onShouldRetry(error) });
  }, parallelUploads);
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

for (const [streams, parallelUploads] of [["one stream", 1], ["four streams", STREAMS]]) {
  test(`${streams}, the tokens over: the next ones are given for a request without a byte`, async () => {
    const file = makeFile(folder, `over ${parallelUploads}.bin`, SIZE);
    const line = crossing.line.holdAfter(SIZE >> 1);
    await crossing.choose(file);
    await beginInStreams(parallelUploads);
    await line.reached;
    await crossing.endTokens();
    crossing.line.cut();
    await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
    crossing.line.mend();
    await crossing.completed(file);
    assert.ok(of("PATCH").some(({ status }) => status === 401), "a token was over");
    assert.ok(of("PATCH").every(({ headers }) => !headers.signature || headers["content-digest"]), "bytes go under tokens");
    assert.ok(of("PATCH").some(({ offset, status, headers }) => offset !== "0" && status === 204 && headers["upload-token"]));
  });
}

test("after the page was loaded anew, which knows no token", async () => {
  const file = makeFile(folder, "reloaded.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.choose(file);
  await beginInStreams(1);
  await line.reached;
  await crossing.page.reload();
  line.drop();
  await crossing.page.setInputFiles("#file", file.path);
  await crossing.page.evaluate(() => {
    sign = signOrRenew;
    return goOn({});
  });
  await crossing.completed(file);
  assert.equal(of("POST").length, 1, "nothing was begun anew");
});

test("a list of parts that its signature does not cover joins nothing", async () => {
  await crossing.choose(makeFile(folder, "uncovered.bin", SIZE));
  await crossing.page.evaluate((parallelUploads) => {
    sign = (request) => {
      const isList = request.getHeader("Upload-Concat")?.startsWith("final;");
      // Whoever is on the way could make another list of it.
      const told = (name) => (isList && name === "Upload-Concat" ? undefined : request.getHeader(name));
      return signRequest({ getMethod: () => request.getMethod(), getURL: () => request.getURL(), getHeader: told });
    };
    begin({ parallelUploads });
  }, STREAMS);
  const { why } = await crossing.outcome();
  assert.match(why, /does not cover upload-concat/);
  assert.deepEqual(of("POST").map(({ status }) => status), [...Array(STREAMS).fill(201), 400]);
});

// tus-js-client in a real browser, on a page of another origin: whatever the protocol sends and reads has to cross, and
// what lies on the service's disk is compared with the file.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Crossing, recipe } from "./crossing.mjs";
import { makeFile, temporary, until } from "./support.mjs";

const MEGABYTE = 1024 * 1024;
const SIZE = 6 * MEGABYTE + 17;
const folder = temporary("files");
const crossing = new Crossing({
  "recipe.js": (at) => `${recipe("proof", at)}
    async function documentedUpload(file) {
      ${recipe("tus-js-client", at)}
      return upload;
    }`,
});

const offsets = () => crossing.sent.filter(({ method }) => method === "PATCH").map(({ offset }) => Number(offset));

/** The only upload there is that still grows. */
const growing = async () => (await crossing.demo.list("receiving")).at(0);

describe("a file goes up", () => {
  for (const [how, options, methods] of [
    ["in a single request", {}, ["POST", "PATCH"]],
    ["in chunks", { chunkSize: 2 * MEGABYTE }, ["POST", "PATCH", "PATCH", "PATCH", "PATCH"]],
    ["with its beginning in the request that makes it", { chunkSize: 4 * MEGABYTE, uploadDataDuringCreation: true }, ["POST", "PATCH"]],
    ["by methods that every proxy knows", { overridePatchMethod: true }, ["POST", "POST"]],
  ]) {
    test(how, async () => {
      const file = makeFile(folder, "whole ä.bin", SIZE);
      await crossing.choose(file);
      await crossing.begin(options);
      await crossing.completed(file);
      assert.deepEqual(crossing.methods(), methods);
      assert.deepEqual(crossing.page.wrong, []);
    });
  }

  test("from a stream, whose length is told at its end", async () => {
    const file = makeFile(folder, "streamed.bin", SIZE);
    await crossing.choose(file);
    await crossing.page.evaluate((chunkSize) => begin({ uploadLengthDeferred: true, chunkSize }, streamed()), 2 * MEGABYTE);
    await crossing.completed(file);
    const [first] = crossing.sent;
    assert.deepEqual([first.headers["upload-defer-length"], first.headers["upload-length"]], ["1", undefined]);
    assert.equal(crossing.sent.at(-1).headers["upload-length"], String(SIZE));
  });

  test("though it is empty", async () => {
    const file = makeFile(folder, "empty.bin", 0);
    await crossing.choose(file);
    await crossing.begin();
    await crossing.completed(file);
  });

  test("signed once, and then under its token", async () => {
    const file = makeFile(folder, "proved.bin", SIZE);
    await crossing.choose(file);
    await crossing.begin({ chunkSize: 2 * MEGABYTE });
    await crossing.completed(file);
    const proofs = crossing.sent.map(({ headers }) => ["x-signature", "upload-token"].filter((name) => name in headers));
    assert.deepEqual(proofs, [["x-signature"], ...Array(4).fill(["upload-token"])]);
  });
});

describe("what is interrupted goes on", () => {
  /** Begins, and waits until so many bytes have passed and the service has them. */
  async function half(file) {
    const line = crossing.line.holdAfter(SIZE >> 1);
    await crossing.choose(file);
    await crossing.begin();
    await line.reached;
    const { id } = await until(growing, "the upload");
    return { id, line };
  }

  /** All that had passed was kept, and nothing of it is sent again. */
  function wentOn(id) {
    const again = crossing.sent.findLastIndex(({ method }) => method === "HEAD");
    const [head, patch] = crossing.sent.slice(again);
    assert.deepEqual([head.method, head.path, patch.method, patch.path], ["HEAD", `/files/${id}`, "PATCH", `/files/${id}`]);
    // The line counts roughly.
    assert.ok(Math.abs(Number(patch.offset) - (SIZE >> 1)) < 65536, `${patch.offset} of ${SIZE}`);
    assert.equal(crossing.methods().filter((method) => method === "POST").length, 1, "one upload was made");
  }

  test("after a pause", async () => {
    const file = makeFile(folder, "paused.bin", SIZE);
    const { id, line } = await half(file);
    await crossing.page.evaluate(() => current.abort());
    line.drop();
    await crossing.page.evaluate(() => current.start());
    assert.equal(await crossing.completed(file), id);
    wentOn(id);
  });

  test("after the page was loaded anew", async () => {
    const file = makeFile(folder, "reloaded.bin", SIZE);
    const { id, line } = await half(file);
    await crossing.page.reload();
    line.drop();
    await crossing.page.setInputFiles("#file", file.path);
    await crossing.page.evaluate(() => goOn({}));
    assert.equal(await crossing.completed(file), id);
    wentOn(id);
  });

  test("by itself, after the cable was pulled", async () => {
    const file = makeFile(folder, "cut.bin", SIZE);
    const { id } = await half(file);
    crossing.line.cut();
    await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
    crossing.line.mend();
    assert.equal(await crossing.completed(file), id);
    wentOn(id);
  });

  test("after the service was killed and started again", async () => {
    const file = makeFile(folder, "killed.bin", SIZE);
    const { id } = await half(file);
    await crossing.demo.kill();
    crossing.line.cut();
    await crossing.demo.start();
    crossing.line.mend();
    assert.equal(await crossing.completed(file), id);
    assert.equal(crossing.methods().filter((method) => method === "POST").length, 1, "one upload was made");
  });

  test("with a signature, after its token was over", async () => {
    const file = makeFile(folder, "token.bin", SIZE);
    await crossing.choose(file);
    const line = crossing.line.holdAfter(2 * MEGABYTE - 4096);
    await crossing.page.evaluate((chunkSize) => begin({ chunkSize, onShouldRetry: isOver }), 2 * MEGABYTE);
    await line.reached;
    await crossing.endTokens();
    line.open();
    const id = await crossing.completed(file);
    // The chunk on its way was proved when it began. The next one is refused, asked about, and sent under a signature.
    const proved = crossing.sent.map(({ method, status, headers }) => [method, status, "upload-token" in headers]);
    assert.deepEqual(proved.slice(0, 5), [
      ["POST", 201, false],
      ["PATCH", 204, true],
      ["PATCH", 401, true],
      ["HEAD", 200, false],
      ["PATCH", 204, false],
    ]);
    assert.deepEqual(offsets(), [0, 2 * MEGABYTE, 2 * MEGABYTE, 4 * MEGABYTE, 6 * MEGABYTE]);
    assert.deepEqual(new Set(crossing.sent.slice(1).map(({ path }) => path)), new Set([`/files/${id}`]));
  });
});

test("what is given up is gone", async () => {
  const file = makeFile(folder, "terminated.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.choose(file);
  await crossing.begin();
  await line.reached;
  const { id } = await until(growing, "the upload");
  await crossing.page.evaluate(() => current.abort(true));
  line.open();
  assert.equal(crossing.sent.at(-1).method, "DELETE");
  assert.equal((await crossing.demo.status(id)).code, "cancelled");
  assert.deepEqual([crossing.demo.unfinished(), crossing.demo.filesOf(id)], [[], []]);
});

describe("the page of documents", () => {
  test("says what to write, and a file goes up", async () => {
    const file = makeFile(folder, "documented.bin", SIZE);
    await crossing.choose(file);
    await crossing.page.evaluate(() => asDocumented());
    const { id } = await until(async () => (await crossing.demo.list("complete")).find(({ filename }) => filename === file.name), "the end");
    await crossing.assertStored(id, file);
    assert.deepEqual(crossing.methods(), ["POST", "PATCH"]);
    assert.deepEqual(crossing.page.wrong, []);
  });

  test("and it goes on after the page was closed, its token over", async () => {
    const file = makeFile(folder, "documented twice.bin", SIZE);
    const line = crossing.line.holdAfter(SIZE >> 1);
    await crossing.choose(file);
    await crossing.page.evaluate(() => asDocumented());
    await line.reached;
    const { id } = await until(growing, "the upload");
    await crossing.page.close();
    line.drop();
    await crossing.endTokens();
    crossing.sent = [];
    await crossing.choose(file);
    await crossing.page.evaluate(() => asDocumented());
    await until(async () => (await crossing.demo.status(id)).state === "complete", "the end");
    await crossing.assertStored(id, file);
    assert.deepEqual(crossing.methods(), ["HEAD", "PATCH"], "it goes on where it was");
    await until(() => crossing.page.evaluate(() => localStorage.length === 0), "it is forgotten, once it is there");
  });
});

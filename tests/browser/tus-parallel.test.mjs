// tus-js-client with `parallelUploads` in a real browser, on a page of another origin: a file goes up in four streams at
// once and is put together by the service (concatenation).

import assert from "node:assert/strict";
import { test } from "node:test";

import { Crossing, recipe } from "./crossing.mjs";
import { makeFile, temporary, until } from "./support.mjs";

const STREAMS = 4;
const SIZE = 8 * 1024 * 1024 + 17;
const folder = temporary("files");
const crossing = new Crossing({ "recipe.js": (at) => recipe("proof", at) });

const posts = () => crossing.sent.filter(({ method }) => method === "POST").map(({ headers }) => headers["upload-concat"]);

test("a file goes up in four streams", async () => {
  const file = makeFile(folder, "parallel ä.bin", SIZE);
  await crossing.choose(file);
  await crossing.begin({ parallelUploads: STREAMS });
  await crossing.completed(file);
  assert.deepEqual(posts().slice(0, STREAMS), Array(STREAMS).fill("partial"));
  const [, urls] = /^final;(.+)$/.exec(posts()[STREAMS]);
  assert.equal(new Set(urls.split(" ")).size, STREAMS);
  assert.equal(posts().length, STREAMS + 1);
  assert.deepEqual(crossing.page.wrong, []);
});

test("four streams go on after the cable was pulled, none from its beginning", async () => {
  const file = makeFile(folder, "parallel cut.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.choose(file);
  await crossing.begin({ parallelUploads: STREAMS });
  await line.reached;
  crossing.line.cut();
  await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
  crossing.line.mend();
  await crossing.completed(file);
  assert.equal(posts().length, STREAMS + 1, "nothing was begun anew");
  const begun = crossing.sent.filter(({ method, offset, status }) => method === "PATCH" && offset === "0" && status === 204);
  assert.ok(begun.length < STREAMS, "what had arrived is not sent again");
});

test("four streams, left and gone on with after the page was loaded anew", async () => {
  const file = makeFile(folder, "parallel reloaded.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.choose(file);
  await crossing.begin({ parallelUploads: STREAMS });
  await line.reached;
  await until(() => crossing.page.evaluate(() => localStorage.length === 1), "the browser knows every stream's URL");
  await crossing.page.reload();
  line.drop();
  await crossing.page.setInputFiles("#file", file.path);
  await crossing.page.evaluate((parallelUploads) => goOn({ parallelUploads }), STREAMS);
  await crossing.completed(file);
  assert.equal(posts().filter((concat) => concat === "partial").length, STREAMS, "nothing was begun anew");
});

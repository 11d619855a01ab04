// Uppy's Dashboard in a real browser, on a page of another origin, as proto-docs/tus.md says to write it: people choose
// files, pause one, lose the network, and everything arrives.

import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import esbuild from "esbuild-wasm";

import { Crossing, idOf, recipe } from "./crossing.mjs";
import { makeFile, temporary, until } from "./support.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const SIZE = 24 * 1024 * 1024 + 17;
const folder = temporary("files");
const crossing = new Crossing({ "uppy.js": (at) => bundled(`${recipe("proof", at)}\n${recipe("uppy", at)}`) });

/** The page's script: what a site would write, put into one file as a site would do. */
async function bundled(code) {
  const contents = `
    import Uppy from "@uppy/core";
    import Dashboard from "@uppy/dashboard";
    import Tus from "@uppy/tus";
    const sign = async () => (await fetch("/sign")).json();
    ${code}
    globalThis.uppy = uppy;`;
  const stdin = { contents, resolveDir: HERE, sourcefile: "uppy.js" };
  const { outputFiles } = await esbuild.build({ stdin, bundle: true, write: false, format: "iife", logLevel: "error" });
  return outputFiles[0].contents;
}

async function choose(...files) {
  await crossing.open("uppy.html");
  await crossing.page.setInputFiles(".uppy-Dashboard-input >> nth=0", files.map(({ path }) => path));
  await crossing.page.getByRole("button", { name: `Upload ${files.length} file` }).click();
}

/** How far Uppy says the file is: bytes, or `complete`. */
const known = (file) => crossing.page.evaluate((name) => uppy.getFiles().find((one) => one.name === name), file.name);
const shot = (name) => process.env.CHUNKGATE_SCREENSHOTS && crossing.page.screenshot({ path: path.join(process.env.CHUNKGATE_SCREENSHOTS, `${name}.png`) });

async function arrived(file) {
  const { uploadURL } = await until(async () => (await known(file))?.progress.uploadComplete && known(file), `${file.name} is there`);
  await crossing.assertStored(idOf(uploadURL), file);
  return idOf(uploadURL);
}

/** Methods of what was asked of one upload. */
const methodsOf = (id) => crossing.sent.filter(({ path }) => path.endsWith(id)).map(({ method }) => method);

test("two files go up, one of them with a pause", async () => {
  const files = [makeFile(folder, "first ä.bin", SIZE), makeFile(folder, "second.bin", 1000)];
  await crossing.open("uppy.html");
  const line = crossing.line.holdAfter(SIZE >> 1);
  await crossing.page.setInputFiles(".uppy-Dashboard-input >> nth=0", files.map(({ path }) => path));
  await crossing.page.getByRole("button", { name: "Upload 2 files" }).click();
  await line.reached;
  await arrived(files[1]);
  await shot("uploading");
  await crossing.page.getByRole("button", { name: "Pause", exact: false }).first().click();
  await until(async () => (await known(files[0])).isPaused, "a pause");
  line.drop();
  await shot("paused");
  await crossing.page.getByRole("button", { name: "Resume", exact: false }).first().click();
  const id = await arrived(files[0]);
  await shot("complete");
  assert.deepEqual(methodsOf(id), ["PATCH", "HEAD", "PATCH"], "it went on where it was");
  assert.deepEqual(crossing.page.wrong, []);
});

test("a connection that is cut in the middle costs nothing", async () => {
  const file = makeFile(folder, "cut.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await choose(file);
  await line.reached;
  crossing.line.cut();
  await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
  crossing.line.mend();
  const id = await arrived(file);
  const patches = crossing.sent.filter(({ method }) => method === "PATCH").map(({ offset }) => Number(offset));
  assert.equal(patches.length, 2);
  assert.ok(Math.abs(patches[1] - (SIZE >> 1)) < 65536, `it goes on at ${patches[1]}`);
  assert.equal(crossing.methods().filter((method) => method === "POST").length, 1);
  assert.ok(methodsOf(id).includes("HEAD"));
});

test("credentials that end in the middle cost nothing", async () => {
  const file = makeFile(folder, "token.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await choose(file);
  await line.reached;
  await crossing.endTokens();
  crossing.line.cut();
  await until(() => crossing.sent.at(-1).method === "HEAD", "a try that fails");
  crossing.line.mend();
  await arrived(file);
  const refused = crossing.sent.filter(({ status }) => status === 401);
  assert.equal(refused.length, 1, "the token is over");
  assert.equal(crossing.methods().filter((method) => method === "POST").length, 1);
});

test("a file that is taken away is gone", async () => {
  const file = makeFile(folder, "removed.bin", SIZE);
  const line = crossing.line.holdAfter(SIZE >> 1);
  await choose(file);
  await line.reached;
  const { id } = (await crossing.demo.list("receiving")).at(0);
  await crossing.page.evaluate((name) => uppy.removeFile(uppy.getFiles().find((one) => one.name === name).id), file.name);
  await until(async () => (await crossing.demo.status(id)).code === "cancelled", "its end");
  line.drop();
  assert.deepEqual(crossing.demo.filesOf(id), []);
});

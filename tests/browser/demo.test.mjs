// The demo page in a real browser: what it shows, and that an upload survives everything its first sentence promises.
//
// With CHUNKGATE_SCREENSHOTS=FOLDER, pictures of the page are written there.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";

import { Demo, PASS, Site, gate, interrupted, makeFile, openPage, startBrowser, temporary, until } from "./support.mjs";

const CHUNK = 4 * 1024 * 1024;
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

/** Opens the page through the site, where chunks can be held; `demo.url` is the page as it is served. */
async function open(url = site.url) {
  page = await openPage(browser);
  await page.goto(`${url}/`);
}

const choose = (...files) => page.setInputFiles("#send input", files.map((file) => file.path));
const active = (file) => page.locator("#send li", { hasText: file.name });
const listed = (file) => page.locator("#uploads > li", { hasText: file.name });
const button = (card, text) => card.getByRole("button", { name: new RegExp(`^${text} `) });
const badge = (card, text) => card.locator(".cg-badge", { hasText: text }).waitFor();
const upload = async (file) => (await demo.list()).find((upload) => upload.filename === file.name);

/** Holds the chunk that begins at `start`, the first time it passes. */
function holding(start) {
  const held = gate();
  let done = false;
  site.rule = async (chunk) => {
    if (!done && chunk.start === start) {
      done = true;
      await held.hold();
    }
    return PASS;
  };
  return held;
}

async function completed(file) {
  await badge(listed(file), "complete");
  await active(file).waitFor({ state: "detached" });
  const { id } = await upload(file);
  await demo.assertStored(id, file);
  return id;
}

async function downloaded(file) {
  const [download] = await Promise.all([page.waitForEvent("download"), button(listed(file), "Download").click()]);
  assert.equal(download.suggestedFilename(), file.name);
  assert.ok(readFileSync(await download.path()).equals(file.bytes), "what is downloaded is byte-identical");
}

test("a file goes up, is listed, comes down and is deleted", async () => {
  const file = makeFile(folder, "holiday ä.bin", 2 * CHUNK + 5);
  await open(demo.url);
  await page.getByText("Nothing here yet.").waitFor();
  await picture("empty");
  await choose(file);
  const id = await completed(file);
  await downloaded(file);
  await button(listed(file), "Delete").click();
  await until(async () => (await demo.ask(`/api/v1/uploads/${id}`)).status === 410, "the upload to be gone");
  await button(listed(file), "Download").waitFor({ state: "detached" });
  assert.deepEqual(demo.filesOf(id), []);
  assert.deepEqual(page.wrong, []);
});

test("an empty file and several at once", async () => {
  const files = [makeFile(folder, "none.bin", 0), makeFile(folder, "some.bin", 1000), makeFile(folder, "more.bin", CHUNK)];
  await open(demo.url);
  await choose(...files);
  for (const file of files) await completed(file);
  for (const file of files) await downloaded(file);
  assert.deepEqual(page.wrong, []);
});

test("progress, pause and resume", async () => {
  const file = makeFile(folder, "paused.bin", 4 * CHUNK + 1);
  const held = holding(2 * CHUNK);
  await open();
  await choose(file);
  await held.reached;
  const bar = active(file).getByRole("progressbar");
  const shown = () => bar.evaluate((bar) => bar.value / bar.max);
  assert.ok((await shown()) >= 0.49 && (await shown()) < 1, `${await shown()} is shown`);
  await badge(active(file), "sending");
  await button(active(file), "Pause").click();
  await badge(active(file), "paused");
  assert.ok(Math.abs((await shown()) - (2 * CHUNK) / file.bytes.length) < 0.001);
  assert.match(await active(file).locator(".cg-facts").textContent(), /8\.0 MiB of 16\.0 MiB/);
  await button(active(file), "Resume").click();
  await completed(file);
  held.open();
  assert.deepEqual(site.chunks.map((chunk) => chunk.start / CHUNK), [0, 1, 2, 2, 3, 4]);
  assert.deepEqual(page.wrong, []);
});

test("cancel removes it from the page, the service and the disk", async () => {
  const file = makeFile(folder, "cancelled.bin", 4 * CHUNK);
  const held = holding(2 * CHUNK);
  await open();
  await choose(file);
  await held.reached;
  const { id } = await upload(file);
  assert.equal(demo.filesOf(id).length, 1);
  await button(active(file), "Cancel").click();
  await active(file).waitFor({ state: "detached" });
  await until(async () => (await demo.ask(`/api/v1/uploads/${id}`)).status === 410, "the upload to be gone");
  held.open();
  assert.deepEqual(demo.filesOf(id), []);
  assert.deepEqual(await demo.list("receiving"), []);
  await button(listed(file), "Resume").waitFor({ state: "detached" });
  assert.deepEqual(page.wrong, []);
});

test("a reload in the middle: choosing the file again goes on at the offset", async () => {
  const file = makeFile(folder, "reloaded.bin", 4 * CHUNK);
  const held = holding(2 * CHUNK);
  await open();
  await choose(file);
  await held.reached;
  await page.reload();
  await badge(listed(file), "receiving");
  const before = site.chunks.length;
  await choose(file);
  await completed(file);
  held.open();
  assert.deepEqual(site.chunks.slice(before).map((chunk) => chunk.start / CHUNK), [2, 3]);
  assert.equal((await demo.list()).filter((upload) => upload.filename === file.name).length, 1);
  assert.deepEqual(page.wrong, []);
});

test("a restart of the service in the middle is shown and survived", async () => {
  const file = makeFile(folder, "restarted.bin", 4 * CHUNK);
  let killed = false;
  site.rule = (chunk) => (!killed && chunk.start === 2 * CHUNK ? interrupted(async () => ((killed = true), demo.kill())) : PASS);
  await open();
  await choose(file);
  const problem = active(file).locator(".cg-problem");
  await problem.waitFor();
  assert.match(await problem.textContent(), /(connection broke|cannot be reached).*Trying again/i);
  await picture("unreachable");
  await demo.start();
  await completed(file);
  assert.deepEqual(site.chunks.filter((chunk) => chunk.status).map((chunk) => chunk.start / CHUNK), [0, 1, 2, 3]);
  assert.deepEqual(page.wrong.filter((text) => !text.startsWith("Failed to load resource")), []);
});

test("by keyboard alone", async () => {
  const file = makeFile(folder, "keyboard.bin", 4 * CHUNK);
  const held = holding(2 * CHUNK);
  await open();
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);
  /** Presses Tab until what has that name is in focus. */
  const walk = async (name) => {
    for (let steps = 0; (await focused()) !== name; steps++) {
      assert.ok(steps < 40, `${name} cannot be reached by Tab`);
      await page.keyboard.press("Tab");
    }
    const outlined = () => [...document.querySelectorAll(":focus-visible, :focus-visible + label")].some((one) => getComputedStyle(one).outlineStyle === "solid");
    assert.ok(await page.evaluate(outlined), `${name} shows that it is in focus`);
  };
  // Asked for early, so that it is caught from the first key on.
  const chooser = page.waitForEvent("filechooser");
  await walk("chunkgate-1");
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(file.path);
  await held.reached;
  await walk(`Pause ${file.name}`);
  await page.keyboard.press("Enter");
  await badge(active(file), "paused");
  assert.equal(await focused(), `Resume ${file.name}`, "the focus stays where it was");
  await page.keyboard.press("Space");
  await completed(file);
  held.open();
  assert.equal(await page.getByRole("status").textContent(), `${file.name}: complete`);
  await walk(`Download ${file.name}`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  assert.ok(readFileSync(await download.path()).equals(file.bytes));
  assert.deepEqual(page.wrong, []);
});

test("fits a desk and a phone, in light and dark", async () => {
  const files = [
    makeFile(folder, "on its way.bin", 4 * CHUNK),
    makeFile(folder, `a name of ${"many-characters-without-a-break-".repeat(5)}.bin`, 4 * CHUNK),
  ];
  const held = gate();
  let waiting = 0;
  site.rule = async (chunk) => {
    if (chunk.start !== 2 * CHUNK) return PASS;
    if (++waiting === files.length) held.reach();
    await held.opened;
    return PASS;
  };
  await open();
  await picture("list");
  await choose(...files);
  await held.reached;
  await button(active(files[1]), "Pause").click();
  await badge(active(files[1]), "paused");
  await picture("busy");
  held.open();
  await completed(files[0]);
  await button(active(files[1]), "Cancel").click();
  await active(files[1]).waitFor({ state: "detached" });
});

/** Looks at the page in both sizes and both colour schemes: nothing may be wider than the window. */
async function picture(name) {
  const screenshots = process.env.CHUNKGATE_SCREENSHOTS;
  for (const [size, viewport] of [["desk", { width: 1280, height: 900 }], ["phone", { width: 390, height: 844 }]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} pixels wider than a ${size}`);
      if (!screenshots) continue;
      mkdirSync(screenshots, { recursive: true });
      await page.screenshot({ path: path.join(screenshots, `${name}-${size}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: null });
}

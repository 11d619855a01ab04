// The operators' console in a real browser, as `chunkgate demo` serves it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";

import { Demo, openPage, signed, startBrowser, until } from "./support.mjs";

const HOSTILE = "<img src=x onerror=alert(1)>.mp4";
let demo, browser, page;

before(async () => {
  demo = await Demo.start();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await demo?.kill();
});
afterEach(async () => page?.close());

const key = () => /its key +(\S+)/.exec(demo.said)[1];
const row = (text) => page.getByRole("row").filter({ hasText: text });
const button = (name) => page.getByRole("button", { name });
const dialog = () => page.getByRole("dialog");

async function open() {
  page = await openPage(browser);
  await page.goto(`${demo.url}/admin/`);
}

/** A new key of the operator that is good for uploads only. */
async function ordinaryKey() {
  const headers = { Authorization: `ApiKey operator:${key()}`, "Content-Type": "application/json" };
  const ask = async (path, options) => (await fetch(`${demo.url}/api/v1/admin${path}`, { headers, ...options })).json();
  const { users } = await ask("/users?search=operator");
  const made = await ask(`/users/${users[0].id}/keys`, { method: "POST", body: JSON.stringify({ label: "ordinary" }) });
  return made.api_key;
}

async function signIn() {
  await open();
  await page.getByRole("textbox", { name: "User" }).fill("operator");
  await page.getByLabel("API key or password").fill(key());
  await button("Sign in").click();
  await page.getByRole("heading", { name: "Uploads" }).waitFor();
}

/** Sends bytes `from` to `to` of a file that has `total`; the answer. */
async function send(name, { from = 0, to, total, id, headers = signed() }) {
  const form = new FormData();
  if (id) form.append("upload_id", id);
  form.append("file", new Blob([new Uint8Array(to - from)]), name);
  const range = { "Content-Range": `bytes ${from}-${to - 1}/${total}` };
  return fetch(`${demo.url}/chunked_upload/`, { method: "POST", headers: { ...headers, ...range }, body: form });
}

test("wrong and ordinary credentials stay outside", async () => {
  await open();
  await page.getByRole("textbox", { name: "User" }).fill("operator");
  await page.getByLabel("API key or password").fill("cg_nonsense");
  await button("Sign in").click();
  await page.getByRole("alert").filter({ hasText: "not valid" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Uploads" }).count(), 0);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);

  await page.getByLabel("API key or password").fill(await ordinaryKey());
  await button("Sign in").click();
  await page.getByRole("alert").filter({ hasText: "not an operator's" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Uploads" }).count(), 0);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("an upload is seen moving, and cancelled", async () => {
  const first = await (await send("moving.bin", { to: 200_000, total: 1_000_000 })).json();
  await signIn();
  const moving = row("moving.bin");
  await moving.getByText("20\u00a0%").waitFor();
  assert.equal(await moving.getByRole("progressbar").evaluate((bar) => bar.value), 20);
  const cancel = button("Cancel moving.bin");
  await cancel.focus();
  assert.ok((await send("moving.bin", { from: 200_000, to: 600_000, total: 1_000_000, id: first.upload_id })).ok);
  await moving.getByText("60\u00a0%").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Cancel moving.bin");
  await cancel.click();
  await dialog().getByText("This cannot be undone.").waitFor();
  await button("Keep it").click();
  await dialog().waitFor({ state: "detached" });
  await cancel.click();
  await button("Cancel upload").click();
  await moving.getByText("cancelled").waitFor();
  await cancel.waitFor({ state: "detached" });
  assert.equal((await demo.ask(`/api/v1/uploads/${first.upload_id}`)).status, 410);
  assert.deepEqual(page.wrong, []);
});

test("the identity server is shown as it is", async () => {
  await send("asked about.bin", { to: 10, total: 20 });
  await signIn();
  await page.getByRole("link", { name: "Realms" }).click();
  await page.getByRole("heading", { name: "Realms" }).waitFor();
  const server = row("default");
  await server.getByText("asked", { exact: true }).waitFor();
  await server.getByText("0 under way, 0 waiting").waitFor();
  assert.equal(await server.getByRole("time").count(), 1, "an answer, and no failure");
  assert.deepEqual(page.wrong, []);
});

test("a key is made, shown once, used, and revoked", async () => {
  await signIn();
  await page.getByRole("link", { name: "Users" }).click();
  await button("New user").click();
  await dialog().getByLabel("Name", { exact: true }).fill("ann");
  await button("Add user").click();
  await button("Keys of ann").click();
  await button("New key").click();
  await dialog().getByLabel("Label").fill("laptop");
  await button("Create key").click();
  const shown = page.getByRole("textbox", { name: "The new key of ann" });
  const secret = await shown.inputValue();
  assert.match(secret, /^cg_[0-9a-f_]+$/);
  await button("Done").click();
  await row("laptop").getByText("active").waitFor();
  assert.ok(!(await page.content()).includes(secret), "shown once");
  const headers = { Authorization: `ApiKey ann:${secret}` };
  assert.equal((await send("by ann.bin", { to: 10, total: 20, headers })).status, 200);
  await button("Revoke laptop").click();
  await button("Revoke key").click();
  await row("laptop").getByText("revoked").waitFor();
  assert.equal((await send("by ann.bin", { to: 10, total: 20, headers })).status, 401);
  await page.getByRole("link", { name: "Audit" }).click();
  await row("revoked a key of ann").waitFor();
  assert.deepEqual(page.wrong, []);
});

test("names are text and nothing else", async () => {
  await send(HOSTILE, { to: 10, total: 20 });
  await signIn();
  await page.getByLabel("Search by name, owner or id").fill("onerror");
  await row(HOSTILE).waitFor();
  await row("by ann.bin").waitFor({ state: "detached" });
  await button(`Expire ${HOSTILE}`).click();
  await dialog().getByText(HOSTILE).waitFor();
  await button("Expire upload").click();
  await row(HOSTILE).getByText("expired").waitFor();
  await page.getByRole("link", { name: "Audit" }).click();
  await row(HOSTILE).waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  const refused = () => ((document.body.innerHTML = "<b>x</b>"), "taken");
  assert.match(await page.evaluate(refused).catch((error) => String(error)), /TrustedHTML/, "the policy takes no markup");
  assert.deepEqual(page.wrong.filter((text) => !/Trusted/.test(text)), []);
});

test("by keyboard alone, and signed out without a trace", async () => {
  await open();
  await page.waitForFunction(() => document.activeElement.id === "name");
  await page.keyboard.type("operator");
  await page.keyboard.press("Tab");
  await page.keyboard.type(key());
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "main");
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
  const walk = async (name, key = "Tab") => {
    for (let steps = 0; (await focused()) !== name; steps++) {
      assert.ok(steps < 60, `${name} cannot be reached by ${key}`);
      await page.keyboard.press(key);
    }
    assert.ok(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle === "solid"), `${name} shows its focus`);
  };
  await walk("Users", "Shift+Tab");
  await page.keyboard.press("Enter");
  await button("Keys of operator").waitFor();
  await walk("Keys of operator");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Keys of operator" }).waitFor();
  await walk("New key");
  await page.keyboard.press("Enter");
  await dialog().waitFor();
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });
  assert.equal(await focused(), "New key", "the focus comes back");
  await page.reload();
  await page.getByRole("heading", { name: "Keys of operator" }).waitFor();
  await walk("Sign out");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length + document.cookie.length), 0);
  assert.ok(!(await page.content()).includes("Keys of operator,"));
  assert.deepEqual(page.wrong, []);
});

test("the key of an earlier start is good no more, and who is signed in with it is out", async () => {
  const old = key();
  await signIn();
  const ask = (text) => fetch(`${demo.url}/api/v1/admin/users`, { headers: { Authorization: `ApiKey operator:${text}` } });
  assert.equal((await ask(old)).status, 200);
  await demo.kill();
  await demo.start();
  await until(() => key() !== old, "a new key");
  assert.deepEqual([(await ask(old)).status, (await ask(key())).status], [401, 200]);
  await page.getByRole("alert").filter({ hasText: "no longer valid" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("fits a desk and a phone, in light and dark", async () => {
  await send("a-name-without-a-single-break-".repeat(5), { to: 10, total: 20 });
  await open();
  await picture("sign-in");
  await signIn();
  await row("a-name-without").waitFor();
  await picture("uploads");
  await page.getByRole("link", { name: "Users" }).click();
  await row("ann").waitFor();
  await picture("users");
  await button("Keys of ann").click();
  await row("laptop").waitFor();
  await picture("keys");
  await page.getByRole("link", { name: "Realms" }).click();
  await row("default").waitFor();
  await picture("realms");
  await page.getByRole("link", { name: "Audit" }).click();
  await row("revoked a key of ann").waitFor();
  await picture("audit");
});

/** Looks at the page in both sizes and both colour schemes: nothing may be wider than the window. */
async function picture(name) {
  const screenshots = process.env.CHUNKGATE_SCREENSHOTS;
  for (const [width, height] of [[1280, 800], [390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} pixels wider than ${width}`);
      if (!screenshots) continue;
      mkdirSync(screenshots, { recursive: true });
      await page.screenshot({ path: path.join(screenshots, `admin-${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: null });
}

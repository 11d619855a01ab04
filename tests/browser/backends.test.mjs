// The two backends that proto-docs/browser-client.md gives, run as they stand there: what they sign is accepted, and
// whoever is not signed in gets nothing.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";

import { Demo, documented, temporary, until } from "./support.mjs";

const folder = temporary("backends");
const running = [];
let demo;

before(async () => (demo = await Demo.start()));
after(async () => {
  running.forEach((child) => child.kill("SIGKILL"));
  await demo?.kill();
});

/** A port that was free a moment ago. */
async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const python = ["/usr/bin/python3", "/usr/local/bin/python3", ...process.env.PATH.split(":").map((bin) => `${bin}/python3`)].find(existsSync);

for (const [mark, language, file, command] of [
  ["python", "python", "sign.py", python],
  ["node", "js", "sign.mjs", process.execPath],
]) {
  test(`the one in ${mark}`, { skip: !command && `${mark} is not installed` }, async () => {
    const script = path.join(folder, file);
    writeFileSync(script, documented(mark, "browser-client", language));
    const port = await freePort();
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, PORT: String(port), API_KEY: "demo-key", SECRET: "demo-secret" };
    running.push(spawn(command, [script], { env, stdio: "ignore" }));
    const ask = (cookie) => fetch(`http://127.0.0.1:${port}/sign`, { headers: { Cookie: cookie } }).catch(() => null);

    const signedIn = await until(() => ask("session=alice"), "the backend");
    assert.equal(signedIn.status, 200);
    const { api_key, timestamp, signature } = await signedIn.json();
    const headers = { "X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": signature };
    assert.equal((await fetch(`${demo.url}/api/v1/uploads`, { headers })).status, 200, "the service takes its signature");

    const nobody = await ask("session=mallory");
    assert.equal(nobody.status, 401);
    assert.equal(await nobody.text(), "null");
  });
}

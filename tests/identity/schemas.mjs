// The schemas of proto-docs/schemas hold for what is really said: for the questions of the service and the answers of
// the reference server, listened to between the two, and for the examples of the page. And they refuse what is wrong.
//
//   node schemas.mjs BINARY
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import Ajv from "ajv/dist/2020.js";

const binary = resolve(process.argv[2]);
const docs = new URL("../../proto-docs/", import.meta.url);
const TOKEN = "schemas-token";
const USERS = `
[[users]]
id = "u-1"
username = "ann"
email = "ann@example.com"
display_name = "Ann Example"
groups = ["staff"]
limits = { max_file_bytes = 10 }
[[users.keys]]
api_key = "ann-key"
secret = "ann-secret"
[[users.keys]]
api_key = "old-key"
secret = "old-secret"
disabled = true
[[users]]
id = "u-2"
username = "bob"
disabled = true
[[users.keys]]
api_key = "bob-key"
secret = "bob-secret"
`;

const ajv = new Ajv({ strictTypes: false, strictRequired: false, validateFormats: false });
const schema = async (name) => ajv.compile(JSON.parse(await readFile(new URL(`schemas/${name}.schema.json`, docs))));
const schemas = { question: await schema("question"), answer: await schema("answer") };
const holds = (kind, value) =>
  assert.ok(schemas[kind](value), `${kind}: ${ajv.errorsText(schemas[kind].errors)}: ${JSON.stringify(value)}`);
const breaks = (kind, value) => assert.ok(!schemas[kind](value), `${kind}: holds for ${JSON.stringify(value)}`);

const folder = await mkdtemp(join(tmpdir(), "chunkgate-schemas-"));
const started = [];

// Starts a server; answers with the address that it tells: one in a line of its own, the other in its log.
async function start(args, env) {
  const child = spawn(binary, args, { env, cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  started.push(child);
  let told = "";
  const address = await new Promise((resolve) => {
    const hear = (data) => {
      told += data;
      const found = told.match(/(?:listening on http:\/\/|server\.address\W.*?)(127\.0\.0\.1:\d+)/);
      if (found) resolve(`http://${found[1]}`);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", () => resolve(undefined));
  });
  assert.ok(address, `${args[0]} tells no address: ${told}`);
  return address;
}

// Passes everything on, and keeps what was said.
async function listenBetween(server) {
  const heard = [];
  const between = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const bare = ["GET", "HEAD"].includes(request.method);
    const { authorization, "content-type": type } = request.headers;
    const headers = { ...(authorization && { authorization }), ...(type && { "content-type": type }) };
    const body = bare ? undefined : Buffer.concat(chunks);
    const answer = await fetch(server + request.url, { method: request.method, headers, body });
    const text = await answer.text();
    heard.push({ question: body?.toString(), answer: text });
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "" }).end(text);
  });
  between.listen(0, "127.0.0.1");
  await once(between, "listening");
  return { url: `http://127.0.0.1:${between.address().port}`, heard, close: () => between.close() };
}

const sign = (secret, text) => createHmac("sha256", secret).update(text).digest("hex");
const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

async function said() {
  await writeFile(join(folder, "users.toml"), USERS);
  const server = await start(
    ["identity", "serve", "--listen", "127.0.0.1:0", "--users", join(folder, "users.toml")],
    { CHUNKGATE_IDENTITY__TOKEN: TOKEN },
  );
  const between = await listenBetween(server);
  const service = await start(["serve"], {
    CHUNKGATE_SERVER__LISTEN: "127.0.0.1:0",
    CHUNKGATE_DATABASE__URL: `sqlite:${join(folder, "chunkgate.db")}`,
    CHUNKGATE_STORAGE__LOCAL__PATH: join(folder, "files"),
    CHUNKGATE_IDENTITY__URL: between.url,
    CHUNKGATE_IDENTITY__TOKEN: TOKEN,
  });
  const now = Math.floor(Date.now() / 1000);
  const written = new Date(now * 1000).toISOString();
  for (const [key, secret, time, status] of [
    ["ann-key", "ann-secret", `${now}`, 200],
    ["ann-key", "ann-secret", `${now}000`, 200],
    ["ann-key", "ann-secret", written, 200],
    ["ann-key", "wrong", `${now}`, 401],
    ["nobody", "wrong", `${now}`, 401],
    ["old-key", "old-secret", `${now}`, 403],
    ["bob-key", "bob-secret", `${now}`, 403],
  ]) {
    const headers = { "X-Api-Key": key, "X-Timestamp": time, "X-Signature": sign(secret, time) };
    const answer = await fetch(`${service}/api/v1/uploads`, { headers });
    assert.equal(answer.status, status, `${key} ${secret} ${time}: ${await answer.text()}`);
  }
  const questions = between.heard.map(({ question }) => JSON.parse(question));
  // The checker asks for every kind of answer that there is.
  await promisify(execFile)(binary, ["identity", "check", "--url", between.url, "--try-timeout", "20s"], {
    env: { CHUNKGATE_IDENTITY__TOKEN: TOKEN, CHUNKGATE_API_KEY: "ann-key", CHUNKGATE_SECRET: "ann-secret" },
  });
  between.close();
  const answers = between.heard.map(({ answer }) => parsed(answer)).filter((answer) => answer?.status);
  return { questions, answers };
}

// The examples of the page: whatever has a credential is a question, whatever has a status an answer.
async function shown() {
  const page = await readFile(new URL("identity-server.md", docs), "utf8");
  const examples = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => JSON.parse(text));
  const questions = examples.filter((example) => example.credential);
  return { questions, answers: examples.filter((example) => example.status) };
}

const put = (value, path, to) => {
  const copy = structuredClone(value);
  const names = path.split(".");
  const last = names.pop();
  const place = names.reduce((at, name) => (at[name] ??= {}), copy);
  if (to === undefined) delete place[last];
  else place[last] = to;
  return copy;
};

function refusals({ questions: [question], answers }) {
  const active = answers.find((answer) => answer.status === "active");
  holds("question", put(question, "new.field", 1));
  holds("question", put(question, "credential", { type: "carrier-pigeon" }));
  holds("answer", put(active, "new.field", 1));
  holds("answer", put(active, "user.email", null));
  for (const [path, to] of [
    ["version", "2"], ["request_id", undefined], ["credential", undefined], ["credential.type", 7],
    ["credential.scheme", undefined], ["credential.api_key", "a b"], ["credential.timestamp", 1700000000],
    ["credential.timestamp", "17"], ["credential.signature", "short"], ["request.method", undefined], ["want", "user"],
  ]) breaks("question", put(question, path, to));
  for (const [path, to] of [
    ["version", 1], ["request_id", undefined], ["status", "maybe"], ["user", undefined], ["user", null],
    ["user.id", ""], ["user.id", 7], ["user.id", "u".repeat(256)], ["user.username", undefined], ["user.username", " "],
    ["user.username", "a\u0000"], ["user.email", "a\nb"], ["user.groups", "staff"], ["user.groups", Array(201).fill("g")],
    ["limits.max_file_bytes", "10"], ["limits.max_file_bytes", -1], ["cache.ttl_seconds", 301], ["cache.ttl_seconds", 0.5],
    ["cache.scope", "user"], ["cache.scope", 7], ["cache.vary", ["cookies"]], ["code", 7], ["retry_after", "3"],
  ]) breaks("answer", put(active, path, to));
}

try {
  const real = await said();
  const examples = await shown();
  assert.ok(real.questions.length >= 7 && real.answers.length > 50 && examples.answers.length >= 5);
  for (const status of ["active", "denied", "unsupported"]) {
    assert.ok(real.answers.some((answer) => answer.status === status), `no ${status} answer`);
  }
  for (const { questions, answers } of [real, examples]) {
    questions.forEach((question) => holds("question", question));
    answers.forEach((answer) => holds("answer", answer));
  }
  refusals(real);
  console.log(`schemas: ${real.questions.length} questions and ${real.answers.length} answers hold, and the page's too`);
} finally {
  started.forEach((child) => child.kill());
  await rm(folder, { recursive: true, force: true });
}

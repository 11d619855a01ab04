// An identity server for chunkgate, on node alone (18 or newer).
//
//     IDENTITY_TOKEN=secret node identity_server.mjs 8081
//
// Put your own users in the place of USERS and KEYS. The numbers in the comments are the steps of identity-server.md.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOKEN = process.env.IDENTITY_TOKEN;
if (!TOKEN) throw new Error("set IDENTITY_TOKEN");
const USERS = new Map([
  ["u-1", { username: "ann", disabled: false }],
  ["u-2", { username: "bob", disabled: true }],
]);
const KEYS = new Map([
  ["ann-key", { secret: "ann-secret", user: "u-1", disabled: false }],
  ["old-key", { secret: "old-secret", user: "u-1", disabled: true }],
  ["bob-key", { secret: "bob-secret", user: "u-2", disabled: false }],
]);
const NOBODY = { secret: "the secret of a key that nobody has" };
const WINDOW_SECONDS = 300;
const LARGEST_BYTES = 64 * 1024;

const isText = (value) => typeof value === "string";
const isObject = (value) => typeof value === "object" && value !== null;
const digest = (text) => createHash("sha256").update(text).digest();
// Of texts of any two lengths; timingSafeEqual takes only equal ones.
const same = (one, other) => timingSafeEqual(digest(one), digest(other));

function isRight(secret, timestamp, signature) {
  // Looked at before decoding: Buffer.from stops at the first character that is not hexadecimal.
  const wellFormed = /^[0-9a-f]{64}$/i.test(signature);
  const given = Buffer.from(wellFormed ? signature : "0".repeat(64), "hex");
  return timingSafeEqual(createHmac("sha256", secret).update(timestamp).digest(), given) && wellFormed;
}

// 10 digits are seconds, 13 milliseconds, anything else RFC 3339; NaN if it is no time.
function unixSeconds(text) {
  if (/^\d{10}$/.test(text)) return Number(text);
  if (/^\d{13}$/.test(text)) return Number(text) / 1000;
  const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;
  return rfc3339.test(text) ? Date.parse(text) / 1000 : NaN;
}

function judge({ type, scheme, api_key, timestamp, signature }) {
  if (type !== "signature" || scheme !== "v1") return { status: "unsupported" }; // 3
  if (![api_key, timestamp, signature].every(isText)) return undefined;
  const key = KEYS.get(api_key) ?? NOBODY; // 4
  if (!isRight(key.secret, timestamp, signature) || key === NOBODY) { // 5
    return { status: "denied", code: "invalid_signature" };
  }
  const apart = Math.abs(Date.now() / 1000 - unixSeconds(timestamp)); // 6
  if (!(apart <= WINDOW_SECONDS)) return { status: "denied", code: "timestamp_out_of_window" };
  const { username, disabled } = USERS.get(key.user); // 7
  if (disabled) return { status: "denied", code: "user_disabled", user: { id: key.user } };
  if (key.disabled) return { status: "denied", code: "key_disabled", user: { id: key.user } };
  return { // 8
    status: "active",
    user: { id: key.user, username },
    cache: { ttl_seconds: 30, scope: "proof" },
  };
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function respond(request, body) {
  if (!same(request.headers.authorization ?? "", `Bearer ${TOKEN}`)) { // 1
    return [401, { code: "service_unauthorized" }];
  }
  const question = parsed(body); // 2
  const whole = isObject(question) && question.version === "1" && isText(question.request_id);
  const verdict = whole && isObject(question.credential) ? judge(question.credential) : undefined;
  if (!verdict) return [400, { code: "malformed_question" }];
  return [200, { version: "1", request_id: question.request_id, ...verdict }];
}

// The body as text; undefined if it is too large.
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > LARGEST_BYTES) return undefined;
  }
  return Buffer.concat(chunks).toString();
}

const server = createServer(async (request, response) => {
  const answer = (status, said, more = {}) =>
    response.writeHead(status, { "Content-Type": "application/json", ...more }).end(JSON.stringify(said));
  if (request.url !== "/v1/verify") return answer(404, { code: "not_found" });
  if (request.method !== "POST") return answer(405, { code: "method_not_allowed" }, { Allow: "POST" });
  try {
    const body = await read(request);
    if (body === undefined) return answer(413, { code: "too_large" }, { Connection: "close" });
    answer(...respond(request, body));
  } catch {
    response.destroy(); // the service hung up, or there is a fault here: no answer is the right answer
  }
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

// The wire of the console: who is signed in, and questions to the operators' API.
//
// Credentials are typed in, sent as an explicit Authorization header by this script alone, and kept for this tab only, in
// sessionStorage. No cookie exists, and the browser is told to add nothing by itself.

const API = "/api/v1/admin";
const MEMORY = "chunkgate-console";

/** The service refused; `message` is its sentence. */
export class Refused extends Error {
  constructor(message, status, code) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** The service did not answer, or asks to come back later. */
export class Unreachable extends Error {}

// --- Who is signed in --------------------------------------------------------------------------------------------

let session = recall();

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(MEMORY));
  } catch {
    return null;
  }
}

export const who = () => session?.name ?? null;

/** What to do when the service no longer admits who is signed in. */
let whenOut = () => {};
export const onOut = (deed) => (whenOut = deed);

/** Takes what was typed, if the service admits it as an operator's. */
export async function signIn(name, secret) {
  const proof = /^cg_/.test(secret) ? `ApiKey ${bytesOf(`${name}:${secret}`)}` : `Basic ${btoa(bytesOf(`${name}:${secret}`))}`;
  const found = { name, proof };
  await send(found, "GET", "/users?limit=1");
  session = found;
  try {
    sessionStorage.setItem(MEMORY, JSON.stringify(found));
  } catch {
    // Without storage one signs in again after a reload.
  }
}

export function signOut() {
  session = null;
  try {
    sessionStorage.removeItem(MEMORY);
  } catch {
    // There was none.
  }
}

/** Text as the bytes of its UTF-8, one character each: what a header can carry. */
const bytesOf = (text) => Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");

// --- Questions ---------------------------------------------------------------------------------------------------

/** Asks; gives the answer's JSON. `query` is an object, of which empty values are left out. */
export function ask(path, query = {}) {
  const filled = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(filled).toString();
  return send(session, "GET", text ? `${path}?${text}` : path);
}

/** Does; gives the answer's JSON. */
export const act = (path, body = {}) => send(session, "POST", path, body);

async function send(as, method, path, body) {
  const headers = { Accept: "application/json" };
  if (as) headers.Authorization = as.proof;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), credentials: "omit", cache: "no-store", redirect: "error" };
  const answer = await fetch(`${API}${path}`, options).catch(() => {
    throw new Unreachable("The service cannot be reached.");
  });
  const json = await answer.json().catch(() => null);
  if (answer.ok) return json;
  const said = json?.detail ?? json?.title ?? `The service answered ${answer.status}.`;
  if (answer.status === 503 || answer.status === 429) throw new Unreachable(said);
  if (answer.status === 401 && as === session && as) whenOut();
  throw new Refused(said, answer.status, json?.code);
}

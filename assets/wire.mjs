// The wire of the demo page: signing, the multipart door, and native JSON.
//
// Turns each answer into its JSON or into what it means: come back later, gone, or refused. Retries nothing.

export const API_KEY = "demo-key";
export const SECRET = "demo-secret";

// --- Signing -----------------------------------------------------------------------------------------------------

const hmacKey = globalThis.crypto?.subtle?.importKey(
  "raw",
  new TextEncoder().encode(SECRET),
  { name: "HMAC", hash: "SHA-256" },
  false,
  ["sign"],
);

/** Key, timestamp and signature, made now: signature v1 is the HMAC of the timestamp. */
export async function proof() {
  if (!hmacKey) throw new Error("This browser signs only on https or on localhost: open the page as http://127.0.0.1.");
  const timestamp = String(Math.floor(Date.now() / 1000));
  const mac = await crypto.subtle.sign("HMAC", await hmacKey, new TextEncoder().encode(timestamp));
  const signature = Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { api_key: API_KEY, timestamp, signature };
}

export async function signedHeaders() {
  const { api_key, timestamp, signature } = await proof();
  return { "X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": signature };
}

// --- The wire ----------------------------------------------------------------------------------------------------

/** The service cannot be reached, or asks to come back later. */
export class Later extends Error {
  constructor(message, seconds = 0) {
    super(message);
    this.seconds = seconds;
  }
}

/** The upload is not there any more. */
export class Gone extends Error {}

/** Reads an answer into its JSON, or throws what it means. A 400 with an offset is an answer: it says where to go on. */
export function judge(status, retryAfter, body) {
  if (status >= 200 && status < 300) return body;
  if (status === 400 && Number.isInteger(body?.offset)) return body;
  const said = body?.detail ?? body?.title ?? `status ${status}`;
  if (status === 404 || status === 410) throw new Gone(said);
  if ([408, 425, 429].includes(status) || (status >= 500 && status !== 501 && status !== 505)) {
    throw new Later(said, Number(retryAfter) || 0);
  }
  throw new Error(said);
}

export async function ask(path, options = {}) {
  const headers = { ...(await signedHeaders()), ...options.headers };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Later("the service cannot be reached");
  }
  const body = await response.json().catch(() => null);
  return judge(response.status, response.headers.get("Retry-After"), body);
}

/** Sends one chunk. XMLHttpRequest, because fetch tells nothing about how much has been sent. */
export async function sendChunk({ file, id, from, to, signal, progress }) {
  const headers = await signedHeaders();
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    // The id comes before the file: fields after it are refused.
    if (id) form.append("upload_id", id);
    form.append("file", file.slice(from, to), file.name);
    request.open("POST", "/chunked_upload/");
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (to > from) request.setRequestHeader("Content-Range", `bytes ${from}-${to - 1}/${file.size}`);
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    request.upload.onprogress = (event) => {
      progress(from + Math.floor(((to - from) * event.loaded) / Math.max(event.total, 1)));
    };
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.onabort = () => reject(new DOMException("paused", "AbortError"));
    request.onerror = () => reject(new Later("the connection broke"));
    request.onload = () => {
      try {
        resolve(judge(request.status, request.getResponseHeader("Retry-After"), request.response));
      } catch (error) {
        reject(error);
      }
    };
    request.send(form);
  });
}

export function complete(id, md5, signal) {
  return ask("/chunked_upload_complete/", { method: "POST", body: new URLSearchParams({ upload_id: id, md5 }), signal });
}

export const status = (id, signal) => ask(`/api/v1/uploads/${id}`, { signal });
export const remove = (id) => ask(`/api/v1/uploads/${id}`, { method: "DELETE" });

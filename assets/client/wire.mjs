// The wire: the raw door's chunk, done and delete, and the status from native JSON. Retries nothing but a request whose
// credentials were too old.

import { Credentials } from "./credentials.mjs";
import { addresses } from "./options.mjs";
import { Later, refusal } from "./refusals.mjs";

/** The requests of one upload. */
export class Wire {
  #addresses;
  #cookies;
  #credentials;

  constructor(options) {
    this.#addresses = addresses(options);
    this.#cookies = options.cookies;
    this.#credentials = new Credentials(options);
  }

  get endpoint() {
    return this.#addresses.upload;
  }

  user() {
    return this.#credentials.user();
  }

  /** Sends `file` from `from` up to `to`; gives the upload as the service shows it. */
  async chunk({ file, from, to, signal, progress }) {
    const headers = {
      Accept: "application/json",
      "Content-Type": /^multipart\//i.test(file.type) ? "application/octet-stream" : file.type || "application/octet-stream",
      "Content-Disposition": `attachment; filename="${encodeURIComponent(wellFormed(file.name))}"`,
    };
    // An empty file has no first byte that a range could name.
    if (to > from) headers["Content-Range"] = `bytes ${from}-${to - 1}/${file.size}`;
    const request = { method: "POST", url: this.#addresses.upload, headers, body: file.slice(from, to), signal, progress };
    return (await this.#ask(request)).body?.[0];
  }

  /** Completes; the service compares the md5, if one is given. Gives its answer: `COMPLETE` or `FAIL`. */
  async done(id, md5, signal) {
    const headers = { Accept: "application/json", ...(md5 && { "Repr-Digest": `md5=:${md5}:` }) };
    return (await this.#ask({ method: "POST", url: this.#addresses.done(id), headers, signal })).body?.[0];
  }

  /** Cancels, and removes what arrived. */
  async remove(id) {
    await this.#ask({ method: "DELETE", url: this.#addresses.remove(id), headers: { Accept: "application/json" } });
  }

  /** What comes next is of another upload. */
  begin() {
    this.#credentials.begin();
  }

  /** The upload as native JSON shows it. */
  async status(id, signal) {
    return (await this.#ask({ method: "GET", url: this.#addresses.status(id), headers: {}, signal })).body;
  }

  async #ask(request) {
    for (let time = 1; ; time++) {
      const proof = await this.#credentials.headers();
      request.signal?.throwIfAborted();
      const answer = await this.#send({ ...request, headers: { ...request.headers, ...proof } });
      this.#credentials.take(answer.token);
      // A token that does not reach so far is as good as one that is too old.
      const unproved = answer.status === 401 || (answer.status === 403 && "Upload-Token" in proof);
      if (unproved && (await this.#credentials.renew(time))) continue;
      const refused = refusal(answer);
      if (refused) throw refused;
      return answer;
    }
  }

  /**
   * By XMLHttpRequest where somebody watches, because fetch tells nothing about how much was sent; but not to the page's
   * own origin without cookies: it would send them all the same, and ask for a password at a 401.
   */
  #send(request) {
    const own = new URL(request.url).origin === globalThis.location?.origin;
    const watched = request.progress && globalThis.XMLHttpRequest && (this.#cookies || !own);
    return watched ? byXhr(request, this.#cookies) : byFetch(request, this.#cookies);
  }
}

async function byFetch({ method, url, headers, body, signal }, cookies) {
  let response;
  try {
    const credentials = cookies ? "include" : "omit";
    response = await fetch(url, { method, headers, body, signal, credentials, cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Later("network", error.message);
  }
  const text = await response.text().catch((error) => {
    throw signal?.aborted ? error : new Later("network", error.message);
  });
  return answered(response.status, text, (name) => response.headers.get(name));
}

function byXhr({ method, url, headers, body, signal, progress }, cookies) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.withCredentials = cookies;
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    const abort = () => request.abort();
    signal?.addEventListener("abort", abort);
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    request.onabort = () => reject(signal?.reason ?? new DOMException("aborted", "AbortError"));
    request.onerror = request.ontimeout = () => reject(new Later("network", "the connection broke"));
    request.onload = () => resolve(answered(request.status, request.responseText, (name) => request.getResponseHeader(name)));
    request.send(body);
  });
}

/** A header that the service does not expose reads as absent, and so does a body that is not JSON. */
function answered(status, text, header) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // An empty answer, or the page of a proxy.
  }
  return { status, body, token: header("Upload-Token"), retryAfter: header("Retry-After") };
}

/** A half of a surrogate pair, which some file systems allow in names, cannot be percent-encoded. */
const wellFormed = (text) => text.toWellFormed?.() ?? text;

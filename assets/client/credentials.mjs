// What an upload proves itself with: a name and a key, a signature that the site's backend made, or, once the service has
// given one, the token of this upload. Never two of them in one request.
//
// The secret that signs never reaches a page. A signature and a token are kept in memory alone.

import { Refused, Later } from "./refusals.mjs";

/** Signatures of one second are equal, and under `v1_reuse = "once"` one of them is used up. */
const NEXT_SECOND = 1100;

/** The credentials of one upload. */
export class Credentials {
  #source;
  #held = null;
  #token = null;

  constructor({ authentication, username, apiKey }) {
    this.#source = authentication ?? (apiKey === undefined ? null : { username, api_key: apiKey });
  }

  /** Who uploads: under this name an upload is remembered. Never a secret. */
  async user() {
    await this.headers();
    return this.#held?.user ?? "";
  }

  /** The headers of the next request. Names with an underscore are dropped by proxies. */
  async headers() {
    if (this.#token) return { "Upload-Token": this.#token };
    this.#held ??= typeof this.#source === "function" ? await asked(this.#source) : read(this.#source);
    return this.#held.headers;
  }

  /** Takes the token from an answer, if there is one. */
  take(token) {
    if (token) this.#token = token;
  }

  /** Proves itself as for a new upload: the token was of another. */
  begin() {
    this.#token = null;
  }

  /** Asks anew from now on; for the `time`th time for one request. False: there is nothing else to try. */
  async renew(time) {
    const other = this.#token !== null || typeof this.#source === "function";
    if (!other || time > 2) return false;
    if (time > 1) await new Promise((resolve) => setTimeout(resolve, NEXT_SECOND));
    this.#token = this.#held = null;
    return true;
  }
}

async function asked(source) {
  let given;
  try {
    given = await source();
  } catch (error) {
    // So fetch says that there is no network.
    if (error instanceof TypeError) throw new Later("network", error.message);
    throw new Refused("credentials", error?.message ?? String(error));
  }
  if (!given) throw new Refused("unauthorized", "the page has no credentials");
  return read(given);
}

function read(given) {
  if (!given) return { user: "", headers: {} };
  const { username, timestamp, signature } = given;
  const key = given.api_key ?? given.apiKey;
  if (typeof key !== "string") throw new Refused("credentials", "the credentials have no api_key");
  if (signature !== undefined) {
    return { user: key, headers: { "X-Api-Key": key, "X-Timestamp": String(timestamp), "X-Signature": signature } };
  }
  if (typeof username !== "string") throw new Refused("credentials", "the credentials have neither signature nor username");
  return { user: username, headers: { username, "X-Api-Key": key } };
}

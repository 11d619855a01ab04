// The md5 of a file, beside the page's own thread: in a worker, or where none is allowed in slices on this one.

import { md5OfFile } from "./md5.mjs";
import { Refused } from "./refusals.mjs";

/** The md5 of the whole file in base64. Ends with `signal`; rejects when the file can no longer be read. */
export async function digestOf(file, signal) {
  const hex = await (inWorker(file, signal) ?? md5OfFile(file, signal)).catch((error) => {
    signal.throwIfAborted();
    throw new Refused("unreadable", error.message);
  });
  return btoa(String.fromCharCode(...hex.match(/../g).map((byte) => parseInt(byte, 16))));
}

/** Nothing, if no worker can be begun here at all. One that does not come up (a policy forbids it) is done without. */
function inWorker(file, signal) {
  const worker = begin();
  if (!worker) return null;
  const end = new AbortController();
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => ("md5" in data ? resolve(data.md5) : reject(new Error(data.error)));
    worker.onerror = (event) => {
      event.preventDefault();
      worker.terminate();
      md5OfFile(file, signal).then(resolve, reject);
    };
    signal.addEventListener("abort", () => reject(signal.reason), { signal: end.signal });
    worker.postMessage(file);
  }).finally(() => {
    end.abort();
    worker.terminate();
  });
}

function begin() {
  if (!globalThis.Worker) return null;
  try {
    // A page may not begin the worker of another origin, but one of its own that imports it.
    const { href, origin } = new URL("./digest-worker.mjs", import.meta.url);
    if (/^https?:/.test(href) && origin !== globalThis.location?.origin) return borrowed(href);
    // In one expression, as bundlers look for it.
    return new Worker(new URL("./digest-worker.mjs", import.meta.url), { type: "module" });
  } catch {
    return null;
  }
}

function borrowed(url) {
  const code = new Blob([`import ${JSON.stringify(url)};`], { type: "text/javascript" });
  const address = URL.createObjectURL(code);
  // Later, when the worker has read it.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return new Worker(address, { type: "module" });
}

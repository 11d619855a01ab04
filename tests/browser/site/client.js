// A page with chunkgate's client from another origin: `?service=` names it, `?options=` is JSON beside the defaults.

const asked = new URLSearchParams(location.search);
const service = asked.get("service");
const { ChunkedUpload, mountUploader } = await import(`${service}/client/chunkgate.mjs`);

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = `${service}/client/chunkgate.css`;
await new Promise((resolve, reject) => {
  Object.assign(style, { onload: resolve, onerror: reject });
  document.head.append(style);
});

/** For the tests: callbacks in their order, as texts. */
const events = [];
const note = (name) => (first) => events.push(`${name}${name.includes("url") ? ` ${first}` : ""}`);

const uploader = mountUploader(document.getElementById("upload"), {
  upload_url: `${service}/chunked_uploads/upload/`,
  done_url: `${service}/chunked_uploads/upload/done/00000000-0000-0000-0000-000000000000/`,
  authentication: () => fetch("/credentials").then((answer) => answer.json()),
  chunked_uploads_start: note("start"),
  on_stop: note("stop"),
  onError: note("error"),
  chunked_upload_complete: note("complete"),
  video_url: note("url"),
  ...JSON.parse(asked.get("options") ?? "{}"),
});

/** A file that was never on a disk, with bytes that cannot be guessed; gives its sha-256. */
async function generated(name, size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
  uploader.add([new File([bytes], name, { type: "application/x-noise" })]);
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

Object.assign(globalThis, { ChunkedUpload, events, generated, uploader });
document.documentElement.dataset.ready = "";

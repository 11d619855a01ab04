// The demo page: sends files with the browser client, and shows one's uploads from native JSON.
//
// Signs in the page, which only a demo with a public secret may do.

import { Card } from "/client/card.mjs";
import { bytes, mountUploader } from "/client/chunkgate.mjs";
import { sentence } from "/client/words.mjs";

const API_KEY = "demo-key";
const SECRET = "demo-secret";
const BLOB_BYTES = 128 << 20;

const $ = (id) => document.getElementById(id);

// --- Who asks ----------------------------------------------------------------------------------------------------

const hmacKey = crypto.subtle?.importKey(
  "raw",
  new TextEncoder().encode(SECRET),
  { name: "HMAC", hash: "SHA-256" },
  false,
  ["sign"],
);

/** Key, timestamp and signature, made now: signature v1 is the HMAC of the timestamp. */
async function proof() {
  if (!hmacKey) throw new Error("This browser signs only on https or on localhost: open the page as http://127.0.0.1.");
  const timestamp = String(Math.floor(Date.now() / 1000));
  const mac = await crypto.subtle.sign("HMAC", await hmacKey, new TextEncoder().encode(timestamp));
  const signature = Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { api_key: API_KEY, timestamp, signature };
}

async function ask(path, method = "GET") {
  const { api_key, timestamp, signature } = await proof();
  const headers = { "X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": signature };
  const answer = await fetch(path, { method, headers, cache: "no-store" }).catch(() => {
    throw new Error("the service cannot be reached");
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.detail ?? said?.title ?? `status ${answer.status}`);
}

// --- Files on their way ------------------------------------------------------------------------------------------

const uploader = mountUploader($("send"), {
  upload_url: "/chunked_uploads/upload/",
  authentication: proof,
  stop: () => list(),
  error: () => list(),
  complete(upload) {
    uploader.remove(upload);
    list();
  },
});

/** The upload whose Resume was pressed: a file of its name and size goes on with it. The md5 proves it is the one. */
let wanted = null;

function resume(upload) {
  const input = $("send").querySelector("input");
  wanted = upload;
  input.addEventListener("cancel", () => (wanted = null), { once: true });
  input.click();
}

// Before the uploader sees the files: what was asked for goes on where it stands.
$("send").addEventListener("change", (event) => {
  const { files } = event.target;
  const same = [...files].find((file) => wanted?.size === file.size && wanted.filename === file.name);
  if (same) uploader.add([same], { id: wanted.id });
  wanted = null;
}, { capture: true });

// A file dropped beside the field would replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (uploader.active) event.preventDefault();
});

// --- One's uploads -----------------------------------------------------------------------------------------------

let cursor = null;
let asked = 0;

/** Shows the first uploads anew, or the next ones below. */
async function list(more = false) {
  const turn = ++asked;
  try {
    const answer = await ask(`/api/v1/uploads?limit=20${more && cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    const page = await answer.json();
    if (turn !== asked) return;
    if (!more) $("uploads").replaceChildren();
    const here = new Set(uploader.queue.uploads.map((upload) => upload.id));
    // What ended without content stays known to the service for a while; there is nothing to do with it here.
    const alive = page.uploads.filter((upload) => ["receiving", "complete"].includes(upload.state));
    alive.filter((upload) => !here.has(upload.id)).forEach(show);
    cursor = page.next_cursor ?? null;
    $("more").hidden = !cursor;
    $("list-empty").hidden = $("uploads").childElementCount > 0;
    problem(null);
  } catch (error) {
    if (turn === asked) problem(error);
  }
}

function problem(error) {
  $("list-problem").textContent = error ? sentence(error.message) : "";
  $("list-problem").hidden = !error;
}

function show(upload) {
  const name = upload.filename || upload.id;
  const card = new Card($("uploads"), name, `Progress of ${name}`);
  const receiving = upload.state === "receiving";
  card.badge(upload.state, upload.state);
  card.progress(receiving ? (upload.percent ?? 0) / 100 : null);
  card.facts(facts(upload, receiving).filter(Boolean).join(" · "));
  const remove = async () => {
    card.actions([]);
    await ask(`/api/v1/uploads/${upload.id}`, "DELETE").catch((error) => card.problem(sentence(error.message)));
    list();
  };
  const button = (text, deed, quiet) => [text, `${text} ${name}`, deed, quiet];
  card.actions(
    receiving
      ? [button("Resume", () => resume(upload)), button("Cancel", remove, true)]
      : [button("Download", () => download(upload, card)), button("Delete", remove, true)],
  );
}

function facts(upload, receiving) {
  const size = upload.size === null ? "size unknown" : bytes(upload.size);
  const when = new Date(upload.created).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return [receiving ? `${bytes(upload.offset)} of ${size}` : size, when, receiving && "choose the same file to go on"];
}

/** Small files through fetch, so that a refusal can be shown; large ones as a signed link, which streams to the disk. */
async function download(upload, card) {
  const path = `/api/v1/uploads/${upload.id}/content`;
  const link = document.createElement("a");
  link.download = upload.filename || upload.id;
  try {
    if (upload.size > BLOB_BYTES) {
      link.href = `${path}?${new URLSearchParams(await proof())}`;
    } else {
      link.href = URL.createObjectURL(await (await ask(path)).blob());
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    }
    link.click();
    card.problem("");
  } catch (error) {
    card.problem(sentence(error.message));
  }
}

$("api-key").textContent = API_KEY;
$("secret").textContent = SECRET;
$("refresh").addEventListener("click", () => list());
$("more").addEventListener("click", () => list(true));
list();

// The demo page: sends files through the multipart door and shows one's uploads from native JSON.
//
// Promises: a byte the service acknowledged is not sent again; an interrupted upload continues after a pause, a broken
// connection, a reload (choose the same file again) or a restart of the service. Signs in the page, which only a demo
// with a public secret may do.

import { Card, bytes, duration, sentence, share } from "./card.mjs";
import { Md5 } from "./md5.mjs";
import { API_KEY, Gone, Later, SECRET, ask, complete, judge, proof, remove, sendChunk, signedHeaders, status } from "./wire.mjs";

const CHUNK_BYTES = 4 << 20;
const HASH_BYTES = 1 << 20;
const LONGEST_WAIT = 30;
const BLOB_BYTES = 128 << 20;
const MEMORY = "chunkgate-demo";

const $ = (id) => document.getElementById(id);

// --- What survives a reload ----------------------------------------------------------------------------------------

const memory = {
  all() {
    try {
      return JSON.parse(localStorage.getItem(MEMORY)) ?? [];
    } catch {
      return [];
    }
  },
  write(entries) {
    try {
      localStorage.setItem(MEMORY, JSON.stringify(entries));
    } catch {
      // Without storage the page works, it only forgets at a reload.
    }
  },
  of: (file) => memory.all().find((entry) => memory.fits(entry, file)),
  fits: (entry, file) =>
    entry.name === file.name && entry.size === file.size && entry.lastModified === file.lastModified,
  keep(id, { name, size, lastModified }) {
    memory.write([...memory.all().filter((entry) => plain(entry.id) !== plain(id)), { id, name, size, lastModified }]);
  },
  forget(id) {
    if (id) memory.write(memory.all().filter((entry) => plain(entry.id) !== plain(id)));
  },
};

/** An id without dashes: the multipart door shows it so, native JSON with dashes. */
const plain = (id) => id.replaceAll("-", "").toLowerCase();

// --- One file on its way -------------------------------------------------------------------------------------------

/** The files on their way in this page. */
const transfers = new Set();

class Transfer {
  constructor(file, id) {
    this.file = file;
    this.card = new Card($("active"), file.name);
    this.id = id ?? memory.of(file)?.id ?? null;
    this.beginnings = 1;
    this.restart();
    transfers.add(this);
    this.run();
  }

  restart() {
    this.offset = 0;
    this.sure = !this.id;
    this.md5 = new Md5();
    this.md5Value = null;
    this.hashed = 0;
  }

  /** Sends until the file is there, paused or refused. */
  async run() {
    const stop = (this.stop = new AbortController());
    this.speed = new Speed();
    this.show("sending", [
      ["Pause", () => this.pause(), "quiet"],
      ["Cancel", () => this.cancel(), "quiet"],
    ]);
    say(`${this.file.name}: upload started`);
    for (let tries = 0, stuck = 0; ; ) {
      const before = `${this.id} ${this.sure} ${this.offset}`;
      try {
        if (await this.step(stop.signal)) return this.done();
        this.card.problem("");
        // An answer that changes nothing may come once or twice, when answers cross each other.
        stuck = before === `${this.id} ${this.sure} ${this.offset}` ? stuck + 1 : 0;
        if (stuck > 3) throw new Error(`the service stands at ${bytes(this.offset)} and takes no more`);
        if (stuck === 0) tries = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof Gone && this.id && this.beginnings < 3) {
          this.beginnings += 1;
          memory.forget(this.id);
          this.id = null;
          this.restart();
        } else if (error instanceof Later) {
          tries += 1;
          const again = await this.wait(error, tries, stop.signal);
          if (!again) return;
        } else {
          return this.fail(error);
        }
      }
    }
  }

  /** Does what comes next; true once the service has compared the md5. */
  async step(signal) {
    const { file } = this;
    if (!this.sure) {
      const now = await status(this.id, signal);
      if (now.state === "complete") return true;
      if (now.state !== "receiving" || (now.size ?? file.size) !== file.size) throw new Gone();
      this.offset = now.offset;
      this.sure = true;
      this.speed = new Speed();
    }
    await this.hash(this.offset, signal);
    if (this.id && this.offset >= file.size) {
      const answer = await complete(this.id, this.md5Text(), signal);
      if (Number.isInteger(answer?.offset)) this.offset = answer.offset;
      return !Number.isInteger(answer?.offset);
    }
    const to = Math.min(this.offset + CHUNK_BYTES, file.size);
    const progress = (at) => this.tell(at);
    const answer = await sendChunk({ file, id: this.id, from: this.offset, to, signal, progress });
    if (answer.upload_id) {
      this.id = answer.upload_id;
      memory.keep(this.id, file);
    }
    if (!this.id || !Number.isInteger(answer.offset)) throw new Error("the answer is not one of an upload service");
    this.offset = answer.offset;
    this.tell(this.offset);
    return false;
  }

  /** Takes the bytes before `upto` into the md5: also those that were sent before a reload. */
  async hash(upto, signal) {
    const resumed = upto - this.hashed > CHUNK_BYTES;
    while (this.hashed < upto) {
      signal.throwIfAborted();
      const part = this.file.slice(this.hashed, Math.min(this.hashed + HASH_BYTES, upto));
      const bytes = new Uint8Array(await part.arrayBuffer().catch(() => Promise.reject(new Error(UNREADABLE))));
      // Paused meanwhile: whoever resumes reads this part itself.
      signal.throwIfAborted();
      this.md5.update(bytes);
      this.hashed += bytes.length;
      if (resumed) this.card.facts(`reading what was already sent: ${share(this.hashed, upto)}`);
    }
  }

  md5Text() {
    return (this.md5Value ??= this.md5.hex());
  }

  /** Waits for another try, or for the network to come back; false if that was ended. */
  async wait(error, tries, signal) {
    const seconds = Math.max(Math.min(2 ** (tries - 1), LONGEST_WAIT) * (0.5 + Math.random() / 2), error.seconds);
    this.card.badge("waiting");
    this.card.progress(this.offset / Math.max(this.file.size, 1));
    this.card.facts(`${bytes(this.offset)} of ${bytes(this.file.size)} sent`);
    this.card.problem(`${sentence(error.message)} Trying again in ${duration(Math.max(1, seconds))}.`);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      addEventListener("online", resolve, { once: true });
    });
    this.sure = !this.id;
    if (!signal.aborted) this.card.badge("sending");
    return !signal.aborted;
  }

  tell(at) {
    const { size } = this.file;
    this.speed.at(at);
    const rate = this.speed.rate();
    const left = rate > 0 ? `${duration((size - at) / rate)} left` : "";
    this.card.progress(size ? at / size : 1);
    this.card.facts([`${bytes(at)} of ${bytes(size)}`, rate > 0 ? `${bytes(rate)}/s` : "", left].filter(Boolean).join(" · "));
  }

  show(state, actions) {
    this.card.badge(state);
    this.card.actions(actions);
  }

  pause() {
    this.stop.abort();
    this.card.problem("");
    this.card.facts(`${bytes(this.offset)} of ${bytes(this.file.size)} sent`);
    this.card.progress(this.offset / Math.max(this.file.size, 1));
    this.show("paused", [
      ["Resume", () => ((this.sure = !this.id), this.run())],
      ["Cancel", () => this.cancel(), "quiet"],
    ]);
    say(`${this.file.name}: paused`);
    list();
  }

  async cancel() {
    this.stop.abort();
    this.close();
    memory.forget(this.id);
    say(`${this.file.name}: cancelled`);
    if (this.id) await remove(this.id).catch((error) => listProblem(error));
    list();
  }

  done() {
    memory.forget(this.id);
    this.close();
    say(`${this.file.name}: uploaded`);
    list();
  }

  fail(error) {
    // What arrived is not the file, so there is nothing to go on with.
    if (/md5/.test(error.message) && this.id) {
      memory.forget(this.id);
      remove(this.id).catch(() => {}).finally(() => list());
      this.id = null;
    }
    this.card.problem(sentence(error.message));
    this.show("failed", [
      ["Try again", () => this.again()],
      ["Dismiss", () => this.close(), "quiet"],
    ]);
    say(`${this.file.name}: failed. ${error.message}`);
    list();
  }

  /** After a failure: from where the service stands, with a fresh md5. */
  again() {
    this.restart();
    this.card.problem("");
    this.run();
  }

  close() {
    transfers.delete(this);
    this.card.remove();
  }
}

const UNREADABLE = "The file can no longer be read: choose it again.";

/** Bytes per second over the last seconds. */
class Speed {
  #points = [];

  at(position) {
    const now = performance.now();
    this.#points.push([now, position]);
    while (this.#points.length > 2 && now - this.#points[0][0] > 8000) this.#points.shift();
  }

  rate() {
    const [[since, from] = [0, 0]] = this.#points;
    const [now, to] = this.#points.at(-1) ?? [0, 0];
    return now - since > 400 && to > from ? ((to - from) * 1000) / (now - since) : 0;
  }
}

// --- The page ----------------------------------------------------------------------------------------------------

function say(text) {
  $("news").textContent = text;
}

function listProblem(error) {
  $("list-problem").textContent = error ? sentence(error.message) : "";
  $("list-problem").hidden = !error;
}

let cursor = null;
let asked = 0;

/** Shows the first uploads anew, or the next ones below. */
async function list(more = false) {
  const turn = ++asked;
  try {
    const page = await ask(`/api/v1/uploads?limit=20${more && cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    if (turn !== asked) return;
    if (!more) $("uploads").replaceChildren();
    const here = new Set([...transfers].map((transfer) => transfer.id && plain(transfer.id)));
    // What ended without content stays known to the service for a while; there is nothing to do with it here.
    const alive = page.uploads.filter((upload) => ["receiving", "complete"].includes(upload.state));
    alive.filter((upload) => !here.has(plain(upload.id))).forEach(showUpload);
    cursor = page.next_cursor ?? null;
    $("more").hidden = !cursor;
    $("list-empty").hidden = $("uploads").childElementCount > 0;
    listProblem(null);
  } catch (error) {
    if (turn === asked) listProblem(error);
  }
}

function showUpload(upload) {
  const card = new Card($("uploads"), upload.filename || upload.id);
  card.badge(upload.state);
  const receiving = upload.state === "receiving";
  card.progress(receiving ? (upload.percent ?? 0) / 100 : null);
  const when = new Date(upload.created);
  const size = upload.size === null || upload.size === undefined ? "size unknown" : bytes(upload.size);
  const facts = [receiving ? `${bytes(upload.offset)} of ${size}` : size];
  if (!Number.isNaN(when.getTime())) facts.push(when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
  if (receiving) facts.push(hint(upload));
  card.facts(facts.filter(Boolean).join(" · "));
  const cancel = async () => {
    card.actions([]);
    memory.forget(upload.id);
    await remove(upload.id).catch((error) => card.problem(sentence(error.message)));
    say(`${card.name}: ${receiving ? "cancelled" : "deleted"}`);
    list();
  };
  const resume = () => {
    wanted = upload;
    $("pick").click();
  };
  if (receiving) card.actions([["Resume", resume], ["Cancel", cancel, "quiet"]]);
  if (upload.state === "complete") card.actions([["Download", () => download(upload, card)], ["Delete", cancel, "quiet"]]);
}

function hint(upload) {
  const known = memory.all().some((entry) => plain(entry.id) === plain(upload.id));
  return known ? "choose the same file to go on" : "begun elsewhere; choose its file to go on";
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
      const response = await fetch(path, { headers: await signedHeaders(), cache: "no-store" });
      if (!response.ok) judge(response.status, null, await response.json().catch(() => null));
      link.href = URL.createObjectURL(await response.blob());
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    }
    link.click();
    card.problem("");
  } catch (error) {
    card.problem(sentence(error.message));
  }
}

/** The upload whose Resume was pressed: a file of its name and size goes on with it. The md5 proves it is the one. */
let wanted = null;

function take(files) {
  for (const file of files) {
    const twice = [...transfers].some((transfer) => memory.fits(transfer.file, file));
    const same = wanted?.size === file.size && wanted?.filename === file.name;
    if (!twice) new Transfer(file, same ? wanted.id : null);
  }
  wanted = null;
  list();
}

// --- Beginning ---------------------------------------------------------------------------------------------------

$("api-key").textContent = API_KEY;
$("secret").textContent = SECRET;
$("drop").addEventListener("click", () => (wanted = null));
$("refresh").addEventListener("click", () => list());
$("more").addEventListener("click", () => list(true));
$("pick").addEventListener("change", () => {
  take([...$("pick").files]);
  // So that choosing the same file again is a change again.
  $("pick").value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  // On the whole page: a file dropped beside the field would replace the page.
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
  });
}
addEventListener("drop", (event) => take([...event.dataTransfer.files]));
addEventListener("beforeunload", (event) => {
  const sending = [...transfers].some((transfer) => !transfer.stop.signal.aborted);
  if (sending) event.preventDefault();
});
list();

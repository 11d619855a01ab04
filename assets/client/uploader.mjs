// The part of a page where files are chosen and watched.
//
// For everybody: real buttons with names of their own, a labelled input, progress elements, news read out politely, the
// focus kept where it was. Its looks are in chunkgate.css.

import { Card, element } from "./card.mjs";
import { normalised } from "./options.mjs";
import { UploadQueue } from "./queue.mjs";
import { bytes, duration, sentences, wording } from "./words.mjs";

let made = 0;

/**
 * Makes an uploader of `root`. If there is a file input in it, that is used, and buttons with the ids of
 * django-chunked-uploads' page (or `data-chunkgate="start"` and so on) act on all files; else everything is made.
 */
export function mountUploader(root, options) {
  return new Uploader(root, normalised(options));
}

class Uploader {
  #words;
  #input;
  #drop;
  #list;
  #news;
  #toolbar;
  #cards = new Map();
  #unmounted = new AbortController();

  constructor(root, options) {
    this.root = root;
    this.queue = new UploadQueue(options);
    this.#words = wording(options.words);
    root.classList.add("chunkgate");
    this.#input = root.querySelector("input[type=file]") ?? this.#made();
    this.#toolbar = ["start", "pause", "resume", "cancel"]
      .map((deed) => [deed, root.querySelector(`#${deed}_upload, [data-chunkgate="${deed}"]`)])
      .filter(([, button]) => button);
    this.#drop = root.querySelector(".cg-drop") ?? root;
    this.#list = element("ul", { className: "cg-cards", "aria-label": this.#words.uploads });
    this.#news = element("p", { className: "cg-hidden", role: "status", "aria-live": "polite" });
    root.append(this.#list, this.#news);
    this.#listen();
    this.#refresh();
  }

  /** Adds files; gives their uploads. `more` are options for these alone. One that is on the list is not added again. */
  add(files, more) {
    if (!this.#input.multiple) [...this.#cards.keys()].filter((upload) => !upload.active).forEach((upload) => this.remove(upload));
    const here = (file) => [...this.#cards.keys()].some((upload) => !isOver(upload) && isSame(upload.file, file));
    const added = [...files].filter((file) => !here(file));
    return added.map((file) => this.queue.add(file, more));
  }

  /** Takes an upload off the page; one that is under way goes on. */
  remove(upload) {
    this.#cards.get(upload)?.remove(this.#input);
    this.#cards.delete(upload);
    this.queue.remove(upload);
  }

  /** Whether something is under way. */
  get active() {
    return this.queue.uploads.some((upload) => upload.active || upload.state === "queued");
  }

  /** Pauses everything and leaves the page. */
  unmount() {
    this.#unmounted.abort();
    this.queue.pause();
    this.#list.remove();
    this.#news.remove();
  }

  #made() {
    const id = `chunkgate-${++made}`;
    const input = element("input", { type: "file", id, multiple: true, className: "cg-hidden" });
    const words = [element("strong", { textContent: this.#words.choose }), element("span", { textContent: this.#words.drop })];
    this.root.append(input, element("label", { className: "cg-drop", for: id }, ...words));
    return input;
  }

  #listen() {
    const { signal } = this.#unmounted;
    this.#input.addEventListener("change", () => {
      this.add(this.#input.files);
      // So that choosing the same file again is a change again.
      this.#input.value = "";
    }, { signal });
    for (const kind of ["dragover", "dragleave", "drop"]) {
      this.root.addEventListener(kind, (event) => {
        event.preventDefault();
        this.#drop.classList.toggle("cg-over", kind === "dragover");
        if (kind === "drop") this.add(event.dataTransfer.files);
      }, { signal });
    }
    for (const [deed, button] of this.#toolbar) {
      button.addEventListener("click", () => this.#act(deed), { signal });
    }
    this.queue.addEventListener("change", () => this.#refresh(), { signal });
  }

  // ---- what is shown ----------------------------------------------------------------------------------------------------

  #refresh() {
    for (const upload of this.queue.uploads) {
      if (!this.#cards.has(upload)) this.#show(upload);
    }
    const can = this.#can();
    // Not `disabled`: a button that is would lose the focus.
    for (const [deed, button] of this.#toolbar) button.setAttribute("aria-disabled", String(!can[deed]));
  }

  #can() {
    const some = (...states) => this.queue.uploads.some((upload) => states.includes(upload.state));
    return {
      start: some("ready", "failed", "waiting"),
      pause: some("sending", "waiting", "finishing", "queued"),
      resume: some("paused"),
      cancel: some("ready", "queued", "sending", "waiting", "finishing", "paused", "failed"),
    };
  }

  #act(deed) {
    if (!this.#can()[deed]) return;
    if (deed === "resume") this.queue.start();
    else this.queue[deed]();
  }

  #show(upload) {
    const { name } = upload.file;
    const card = new Card(this.#list, name, this.#words.progressOf(name));
    this.#cards.set(upload, card);
    let told = null;
    const change = () => {
      this.#write(upload, card);
      const state = upload.problem ? `${upload.state} ${upload.problem.code}` : upload.state;
      if (state !== told) this.#say(upload);
      told = state;
      if (upload.state === "cancelled") this.remove(upload);
    };
    upload.addEventListener("change", change);
    change();
  }

  #write(upload, card) {
    const words = this.#words;
    const { state, size, sent, rate, secondsLeft, problem } = upload;
    card.badge(state, words.states[state]);
    card.progress(size ? sent / size : Number(state === "complete"));
    const left = secondsLeft === null ? "" : duration(secondsLeft);
    const facts = {
      ready: bytes(size),
      queued: bytes(size),
      finishing: words.checking,
      complete: bytes(size),
    };
    card.facts(facts[state] ?? words.facts(bytes(sent), bytes(size), rate > 0 ? bytes(rate) : "", left));
    card.problem(problem && ["waiting", "failed"].includes(state) ? sentences(problem, words) : "");
    card.actions(this.#toolbar.length ? [] : this.#actions(upload));
  }

  #actions(upload) {
    const words = this.#words;
    const start = () => upload.start();
    const cancel = [words.cancel, () => upload.cancel(), true];
    const pause = [words.pause, () => upload.pause(), true];
    const actions = {
      ready: [[words.start, start], cancel],
      queued: [cancel],
      sending: [pause, cancel],
      waiting: [[words.now, start], pause, cancel],
      finishing: [pause, cancel],
      paused: [[words.resume, start], cancel],
      failed: [[words.again, start], cancel],
      complete: [[words.dismiss, () => this.remove(upload), true]],
      cancelled: [],
    };
    const { name } = upload.file;
    return actions[upload.state].map(([text, deed, quiet]) => [text, words.actionOn(text, name), deed, quiet]);
  }

  #say({ file, state, problem }) {
    const shown = problem && ["waiting", "failed"].includes(state);
    const news = this.#words.news(file.name, this.#words.states[state]);
    this.#news.textContent = shown ? `${news}. ${sentences(problem, this.#words)}` : news;
  }
}

const isOver = (upload) => ["complete", "cancelled"].includes(upload.state);
const isSame = (one, other) =>
  one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;

// Several files: so many at once, the others wait for their turn.

import { normalised, spelled } from "./options.mjs";
import { ChunkedUpload } from "./upload.mjs";

/** The uploads of a page. Says `change` whenever one of them is another, or is added or removed. */
export class UploadQueue extends EventTarget {
  #options;
  /** In the order of their adding. */
  uploads = [];

  constructor(options) {
    super();
    this.#options = normalised(options);
  }

  /** Adds a file; `more` are options for it alone. Begins when there is room, unless `auto_start` is off. */
  add(file, more = {}) {
    const upload = new ChunkedUpload(file, { ...this.#options, ...spelled(more) });
    this.uploads.push(upload);
    upload.addEventListener("change", () => {
      this.#next();
      this.#changed();
    });
    if (this.#options.autoStart) upload.queue();
    this.#next();
    this.#changed();
    return upload;
  }

  /** Takes an upload off the list; one that is under way goes on. */
  remove(upload) {
    this.uploads = this.uploads.filter((other) => other !== upload);
    this.#next();
    this.#changed();
  }

  /** What is ready, paused or failed gets its turn. */
  start() {
    for (const upload of this.uploads) {
      if (upload.state === "ready") upload.queue();
      else if (["paused", "failed", "waiting"].includes(upload.state)) upload.start();
    }
    this.#next();
  }

  pause() {
    // Those that wait for their turn first, or each pause would begin the next.
    const waiting = this.uploads.filter((upload) => upload.state === "queued");
    for (const upload of [...waiting, ...this.uploads]) upload.pause();
  }

  async cancel() {
    const waiting = this.uploads.filter((upload) => !upload.active);
    await Promise.all([...waiting, ...this.uploads].map((upload) => upload.cancel()));
  }

  #next() {
    for (const upload of this.uploads.filter((upload) => upload.state === "queued")) {
      const active = this.uploads.filter((upload) => upload.active);
      if (active.length >= this.#options.limit) return;
      // Before it has its token, the service knows an upload by name, total and place: two that share them take turns.
      const twin = ({ file }) => file.name === upload.file.name && file.size === upload.file.size;
      if (!active.some(twin)) upload.start();
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

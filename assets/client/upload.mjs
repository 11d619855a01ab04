// One file on its way.
//
// Promises: a byte that the service acknowledged is not sent again; where to go on is asked of the service, never
// remembered; an interrupted upload goes on after a pause, a broken connection, a restart of the service, a signature
// that has aged, and, when the same file is chosen again, after a reload. It is complete when the service has compared
// the file's md5.

import { digestOf } from "./digest.mjs";
import { Memory } from "./memory.mjs";
import { normalised, tell } from "./options.mjs";
import { Speed, backoff, wait } from "./pace.mjs";
import { Elsewhere, Gone, Later, Refused } from "./refusals.mjs";
import { Wire } from "./wire.mjs";

/** Steps that change nothing happen where answers cross each other, but not for ever. */
const MOST_STUCK = 6;
/** States in which something is going on. */
const ACTIVE = ["sending", "waiting", "finishing"];

/** A file, and where its upload stands. Says `change` whenever that is another. */
export class ChunkedUpload extends EventTarget {
  #options;
  #wire;
  #memory = null;
  #speed = new Speed();
  /** Ends what is going on: by a pause, or by a cancel. */
  #stop = new AbortController();
  /** Ends a wait early. */
  #hurry = new AbortController();
  /** The md5, being computed. */
  #digest = null;
  #digestStop = null;
  /** Whether the service has said where the upload stands since the last interruption. */
  #sure = false;
  #beganAnew = false;
  /** What is going on; whether a chunk is on its way. */
  #running = null;
  #underWay = false;

  constructor(file, options) {
    super();
    this.#options = normalised(options);
    this.#wire = new Wire(this.#options);
    this.file = file;
    this.id = this.#options.id ?? null;
    this.state = "ready";
    this.offset = this.sent = 0;
    this.problem = null;
    this.url = null;
  }

  get size() {
    return this.file.size;
  }

  get active() {
    return ACTIVE.includes(this.state);
  }

  /** Bytes per second over the last seconds, 0 while nobody knows. */
  get rate() {
    return this.state === "sending" ? this.#speed.rate : 0;
  }

  get secondsLeft() {
    return this.rate > 0 ? (this.size - this.sent) / this.rate : null;
  }

  /** Begins, goes on after a pause, tries again after a failure, or now instead of later. Ends with the state. */
  async start() {
    if (this.state === "waiting") this.#hurry.abort();
    if (this.active || ["complete", "cancelled"].includes(this.state)) return this.state;
    const stop = (this.#stop = new AbortController());
    const damaged = this.problem?.code === "damaged";
    this.#sure = false;
    this.#beganAnew = false;
    this.#become("sending");
    tell(this.#options.start, this);
    try {
      if (damaged) await this.#discard();
      await (this.#running = this.#run(stop.signal));
    } catch (error) {
      // Paused or cancelled: whoever did that has said so.
      if (!stop.signal.aborted && this.state !== "cancelled") this.#fail(error);
    }
    return this.state;
  }

  resume() {
    return this.start();
  }

  pause() {
    if (!this.active && this.state !== "queued") return;
    this.#stop.abort();
    this.sent = this.offset;
    this.#become("paused");
    tell(this.#options.stop, this);
  }

  /** Ends the upload, and removes at the service what arrived. */
  async cancel() {
    if (["complete", "cancelled"].includes(this.state)) return;
    // The answer to a first chunk that is on its way names what to remove.
    const unnamed = this.#underWay && this.id === null;
    if (!unnamed) this.#stop.abort();
    this.#digestStop?.abort();
    this.#become("cancelled");
    await (unnamed ? this.#running.catch(() => {}) : this.#discard());
    tell(this.#options.stop, this);
  }

  /** Waits for its turn; for a queue. */
  queue() {
    if (this.state === "ready") this.#become("queued");
  }

  // ---- the way of a file ------------------------------------------------------------------------------------------------

  async #run(signal) {
    this.#memory ??= await this.#remembered(signal);
    for (let tries = 0, stuck = 0; ; ) {
      const before = this.#stand();
      try {
        if (await this.#step(signal)) return this.#complete();
        this.problem = null;
      } catch (error) {
        if (signal.aborted || this.state === "cancelled") throw error;
        if (error instanceof Later) {
          await this.#wait(error, ++tries, signal);
          continue;
        }
        this.#follow(error);
      }
      if (this.state === "cancelled") return this.#discard();
      stuck = before === this.#stand() ? stuck + 1 : 0;
      if (stuck > MOST_STUCK) throw new Refused("refused", `the service stands at ${this.offset} and takes no more`);
      if (stuck === 0) tries = 0;
    }
  }

  #stand() {
    return `${this.id} ${this.offset}`;
  }

  /** Who uploads is known once there are credentials, and so is what was remembered for them. */
  async #remembered(signal) {
    for (let tries = 1; ; tries++) {
      try {
        const memory = new Memory(this.file, this.#wire.endpoint, await this.#wire.user());
        if (this.#options.remember) this.id ??= memory.id;
        return memory;
      } catch (error) {
        if (!(error instanceof Later) || this.state === "cancelled") throw error;
        await this.#wait(error, tries, signal);
      }
    }
  }

  /** Does what comes next; true once the service has completed the upload. */
  async #step(signal) {
    if (this.#options.digest && !this.#digest) this.#beginDigest();
    if (this.id && !this.#sure) return this.#ask(signal);
    if (this.id && this.offset >= this.size) return this.#finish(signal);
    return this.#send(signal);
  }

  async #ask(signal) {
    const now = await this.#wire.status(this.id, signal);
    if (!Number.isInteger(now?.offset)) throw new Refused("refused", "the answer is not one of an upload service");
    if (now.state !== "complete" && now.state !== "receiving") throw new Gone(now.state);
    if ((now.size ?? this.size) !== this.size) throw new Gone("the upload is of another file");
    this.#stands(now.offset);
    this.#speed = new Speed();
    return false;
  }

  async #send(signal) {
    if (this.state !== "sending") this.#become("sending");
    const { file, offset: from } = this;
    const to = Math.min(from + this.#options.chunkSize, this.size);
    const progress = (count) => this.#progress(from + Math.min(count, to - from));
    this.#underWay = true;
    const answer = await this.#wire.chunk({ file, from, to, signal, progress }).finally(() => (this.#underWay = false));
    if (!answer?.upload_uuid || !Number.isInteger(answer.size)) {
      throw new Refused("refused", "the answer is not one of an upload service");
    }
    if (this.id && this.id !== answer.upload_uuid) {
      throw new Refused("refused", "another upload of this name and size is under way");
    }
    this.id = answer.upload_uuid;
    if (this.#options.remember) this.#memory?.keep(this.id);
    this.#stands(answer.size);
    return false;
  }

  async #finish(signal) {
    this.#become("finishing");
    const md5 = await unless(signal, this.#digest);
    const answer = await this.#wire.done(this.id, md5, signal);
    if (answer?.state !== "COMPLETE") throw new Elsewhere(null);
    this.url = answer.video_url || null;
    return true;
  }

  /** The service says where the upload stands. */
  #stands(offset) {
    this.offset = this.sent = offset;
    this.#sure = true;
    this.#progress(offset);
  }

  #progress(sent) {
    this.sent = Math.min(sent, this.size);
    this.#speed.at(this.sent);
    if (!this.active) return;
    tell(this.#options.progress, this);
    this.#changed();
  }

  /** What an answer that is no success means for the next step. */
  #follow(error) {
    if (error instanceof Elsewhere) {
      if (error.offset === null || error.offset > this.size) this.#sure = false;
      else this.#stands(error.offset);
    } else if (error instanceof Gone && this.id && !this.#beganAnew) {
      this.#beganAnew = true;
      this.#anew();
    } else {
      throw error;
    }
  }

  #anew() {
    this.#memory?.forget();
    this.#wire.begin();
    this.id = null;
    this.#sure = false;
    this.offset = this.sent = 0;
  }

  async #wait(error, tries, signal) {
    // What a browser says of a file that is no longer there, or another, it also says of a broken network.
    if (error.code === "network" && this.size > 0) await readable(this.file, this.offset);
    const seconds = backoff(tries, error.seconds);
    this.sent = this.offset;
    this.problem = { code: error.code, detail: error.message, seconds };
    this.#hurry = new AbortController();
    this.#become("waiting");
    await wait(seconds, signal, this.#hurry.signal);
    signal.throwIfAborted();
    this.#sure = false;
    this.#speed = new Speed();
  }

  /** Begins to compute the md5 while the chunks go up. */
  #beginDigest() {
    this.#digestStop = new AbortController();
    this.#digest = digestOf(this.file, this.#digestStop.signal);
    // Whoever finishes hears of it.
    this.#digest.catch(() => {});
  }

  // ---- how it ends ------------------------------------------------------------------------------------------------------

  #complete() {
    this.#memory?.forget();
    this.sent = this.offset = this.size;
    this.problem = null;
    this.#become("complete");
    tell(this.#options.url, this.url, this);
    tell(this.#options.complete, this);
  }

  #fail(error) {
    this.#digestStop?.abort();
    this.#digest = null;
    this.problem = { code: error.code ?? (error instanceof Gone ? "gone" : "refused"), detail: error.message };
    this.#become("failed");
    tell(this.#options.error, this.problem, this);
  }

  /** Removes at the service what arrived. What cannot be removed now is removed there when its time is over. */
  async #discard() {
    const { id } = this;
    this.#anew();
    for (let tries = 1; id && tries < 4; tries++) {
      try {
        return await this.#wire.remove(id);
      } catch (error) {
        if (!(error instanceof Later)) return;
        await wait(backoff(tries, error.seconds));
      }
    }
  }

  #become(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

async function readable(file, at) {
  try {
    await file.slice(at, at + 1).arrayBuffer();
  } catch (error) {
    throw new Refused("unreadable", error.message);
  }
}

/** What `promise` gives, unless `signal` comes first. */
function unless(signal, promise) {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    Promise.resolve(promise).then(resolve, reject);
  });
}

// How fast it goes, and how long to wait when it does not.

const WINDOW = 8000;
const LONGEST_WAIT = 30;

/** Bytes per second over the last seconds. */
export class Speed {
  #points = [];

  at(position) {
    const now = performance.now();
    this.#points.push([now, position]);
    while (this.#points.length > 2 && now - this.#points[0][0] > WINDOW) this.#points.shift();
  }

  /** 0 while there is nothing to judge by. */
  get rate() {
    const [[since, from] = [0, 0]] = this.#points;
    const [now, to] = this.#points.at(-1) ?? [0, 0];
    return now - since > 400 && to > from ? ((to - from) * 1000) / (now - since) : 0;
  }
}

/** Seconds before the next try: doubled each time, spread so that many clients do not come back together. */
export function backoff(tries, atLeast) {
  const spread = 0.5 + Math.random() / 2;
  return Math.max(Math.min(2 ** (tries - 1), LONGEST_WAIT) * spread, atLeast);
}

/** Waits that long, or until the network is back, or until one of `signals`. Offline it is waited for the network. */
export function wait(seconds, ...signals) {
  return new Promise((resolve) => {
    const ended = new AbortController();
    const end = () => {
      clearTimeout(timer);
      ended.abort();
      resolve();
    };
    // `onLine` may be wrong, so now and then one try is made all the same.
    const over = () => (globalThis.navigator?.onLine === false ? (timer = setTimeout(end, LONGEST_WAIT * 1000)) : end());
    let timer = setTimeout(over, seconds * 1000);
    for (const signal of signals) signal.addEventListener("abort", end, { signal: ended.signal });
    globalThis.addEventListener?.("online", end, { signal: ended.signal });
    if (signals.some((signal) => signal.aborted)) end();
  });
}

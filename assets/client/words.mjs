// What people read. Give `words` in the options to say some of it otherwise, or in another language.

/** Every text; functions get what they speak of. */
export const WORDS = {
  choose: "Choose files",
  drop: "or drop them here",
  uploads: "Uploads",
  progressOf: (name) => `Progress of ${name}`,
  actionOn: (action, name) => `${action} ${name}`,
  start: "Start",
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel",
  again: "Try again",
  now: "Try now",
  dismiss: "Dismiss",
  states: {
    ready: "ready",
    queued: "queued",
    sending: "sending",
    waiting: "waiting",
    paused: "paused",
    finishing: "checking",
    complete: "complete",
    failed: "failed",
    cancelled: "cancelled",
  },
  news: (name, state) => `${name}: ${state}`,
  facts: (sent, size, rate, left) => [`${sent} of ${size}`, rate && `${rate}/s`, left && `${left} left`].filter(Boolean).join(" · "),
  checking: "Comparing checksums",
  retryIn: (time) => `Trying again in ${time}.`,
  problems: {
    offline: "You are offline. It goes on by itself when you are back.",
    network: "The connection is cut: the service cannot be reached.",
    busy: "The service is busy or restarting.",
    full: "The service has no space left.",
    unauthorized: "You are not signed in, or no longer. Sign in, then try again: it goes on where it stands.",
    forbidden: "You may not upload here.",
    credentials: "This site could not get you the permission to upload.",
    too_large: "The file is too large for this service.",
    damaged: "What arrived is not this file: it was damaged on the way, or changed meanwhile. Trying again begins anew.",
    unreadable: "The file can no longer be read. Cancel, and choose it again.",
    gone: "The upload is no longer there.",
    refused: "The service refused the upload.",
  },
};

/** The words of a page: the given ones where there are some. */
export function wording(given = {}) {
  const { states, problems, ...more } = given;
  return {
    ...WORDS,
    ...more,
    states: { ...WORDS.states, ...states },
    problems: { ...WORDS.problems, ...problems },
  };
}

/** What is wrong, as sentences. What the service said itself is added where the code says little. */
export function sentences({ code, detail, seconds }, words) {
  const offline = code === "network" && globalThis.navigator?.onLine === false;
  if (offline) return words.problems.offline;
  const said = [words.problems[code] ?? words.problems.refused];
  if (["refused", "credentials"].includes(code) && detail) said.push(sentence(detail));
  if (seconds !== undefined) said.push(words.retryIn(duration(Math.max(1, seconds))));
  return said.join(" ");
}

/** A size in binary units. */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(Math.floor(Math.log2(count) / 10), units.length - 1);
  const value = count / 1024 ** power;
  return `${power && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/** A time in the two largest units. */
export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The text as a sentence. */
export function sentence(text) {
  const clean = String(text || "It failed").trim();
  return clean[0].toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}

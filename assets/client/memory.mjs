// What survives a reload: which upload a file belongs to, and nothing else. Where the upload stands, the service says.

const PREFIX = "chunkgate:";
/** Uploads that nobody came back to are forgotten; the service has forgotten them too. */
const LONGEST = 30 * 24 * 60 * 60 * 1000;

/** The record of one file at one service for one user. */
export class Memory {
  #key;

  constructor(file, endpoint, user) {
    this.#key = PREFIX + JSON.stringify([endpoint, user, file.name, file.size, file.lastModified]);
  }

  /** The id of the upload, if one is under way. */
  get id() {
    return read(this.#key)?.id ?? null;
  }

  keep(id) {
    storage((all) => {
      const known = Object.keys(all).filter((key) => key.startsWith(PREFIX));
      const old = known.filter((key) => !(Date.now() - read(key)?.at < LONGEST));
      old.forEach((key) => all.removeItem(key));
      all.setItem(this.#key, JSON.stringify({ id, at: Date.now() }));
    });
  }

  forget() {
    storage((all) => all.removeItem(this.#key));
  }
}

function read(key) {
  return storage((all) => JSON.parse(all.getItem(key)));
}

/** Without storage (a full one, a private window, Node.js) all works, and a reload begins anew. */
function storage(deed) {
  try {
    return deed(globalThis.localStorage);
  } catch {
    return null;
  }
}

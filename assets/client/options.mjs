// The options of uploads in one spelling, and the addresses that follow from them.
//
// Pages of django-chunked-uploads give `chunked_uploads_endpoints` and callbacks like `chunked_uploads_complete`; others
// write `uploadUrl` and `onComplete`. All of these are one.

const DEFAULTS = {
  chunkSize: 4 << 20,
  limit: 3,
  autoStart: true,
  remember: true,
  digest: true,
  cookies: false,
};
/** In addresses of `done` that were made without knowing the upload, as the pages of django-chunked-uploads have them. */
const NO_ID = "00000000-0000-0000-0000-000000000000";

/** The given options by their camel case names. */
export function spelled(given = {}) {
  const options = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    const name = plain(key);
    if (name in options && options[name] !== value) throw new TypeError(`${name} is given twice, and they differ`);
    options[name] = value;
  }
  for (const name of ["chunkSize", "limit"]) {
    if (options[name] !== undefined && !(options[name] >= 1)) throw new TypeError(`${name} must be at least 1`);
  }
  return options;
}

/** The same, with the defaults of those that are absent. */
export const normalised = (given) => ({ ...DEFAULTS, ...spelled(given) });

/** `upload_url`, `chunked_uploads_start`, `on_start`, `onStart`: the name without prefix, in camel case. */
function plain(key) {
  const camel = key.replace(/_+([a-z0-9])/g, (_, letter) => letter.toUpperCase());
  const bare = camel.replace(/^chunkedUploads?(?=[A-Z])/, "").replace(/^[oO]n(?=[A-Z])/, "");
  const name = bare.charAt(0).toLowerCase() + bare.slice(1);
  return name === "videoUrl" ? "url" : name;
}

/** Where the raw door and the native one are, from `upload_url` and perhaps `done_url`. */
export function addresses({ uploadUrl, doneUrl }) {
  if (!uploadUrl) throw new TypeError("upload_url is needed");
  const upload = new URL(uploadUrl, globalThis.document?.baseURI);
  if (!upload.pathname.endsWith("/")) upload.pathname += "/";
  const given = doneUrl && new URL(doneUrl, upload).href;
  return {
    upload: upload.href,
    done(id) {
      if (given?.includes(NO_ID)) return given.replace(NO_ID, id);
      return new URL(`${id}/`, given ? given.replace(/\/?$/, "/") : new URL("done/", upload)).href;
    },
    remove: (id) => new URL(`../${id}/delete/`, upload).href,
    status: (id) => new URL(`/api/v1/uploads/${id}`, upload).href,
  };
}

/** Calls the page. What goes wrong there is reported and does not stop the upload. */
export function tell(callback, ...facts) {
  try {
    callback?.(...facts);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

// Brings chunked_upload.html to life. It is set up by the attributes of its section, or as the page of
// django-chunked-uploads: by `chunked_uploads_endpoints` and the callbacks among the page's globals.

import { mountUploader } from "./chunkgate.mjs";

const CALLBACKS = ["start", "stop", "error", "complete", "video_url"];

/** Credentials for whoever is signed in at the page's own site. */
function askedFrom(url) {
  return async () => {
    const answer = await fetch(url, { credentials: "same-origin", cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) return null;
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
    return answer.json();
  };
}

/** Looked up when it is called: a page may define its callbacks later, and with or without the last letter. */
function callback(name) {
  return (...facts) => (globalThis[`chunked_uploads_${name}`] ?? globalThis[`chunked_upload_${name}`])?.(...facts);
}

function options({ uploadUrl, doneUrl, credentialsUrl, chunkSize }) {
  const endpoints = globalThis.chunked_uploads_endpoints ?? {};
  const has = (...names) => names.some((name) => endpoints[name]);
  return {
    auto_start: false,
    ...(!has("upload_url", "uploadUrl") && { upload_url: uploadUrl, done_url: doneUrl }),
    ...(!has("authentication", "api_key", "apiKey") && credentialsUrl && { authentication: askedFrom(credentialsUrl) }),
    ...(!has("chunk_size", "chunkSize") && chunkSize && { chunk_size: Number(chunkSize) }),
    ...Object.fromEntries(CALLBACKS.map((name) => [name, callback(name)])),
    ...endpoints,
  };
}

const section = document.getElementById("chunked_upload");
mountUploader(section, options(section.dataset));

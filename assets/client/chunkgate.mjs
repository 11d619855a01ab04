// chunkgate's browser client: large files in chunks, resumed after anything that can go wrong on the way.
//
//     import { mountUploader } from "https://upload.example.org/client/chunkgate.mjs";
//     mountUploader(document.querySelector("#upload"), { upload_url, authentication: () => fetch("/sign").then((r) => r.json()) });
//
// This is the module to import; it has no dependencies but its neighbours, and touches nothing until it is used, so a
// bundler or Node.js may import it too. Types are in chunkgate.d.mts, words in proto-docs/browser-client.md.

export { ChunkedUpload } from "./upload.mjs";
export { UploadQueue } from "./queue.mjs";
export { mountUploader } from "./uploader.mjs";
export { WORDS, bytes, duration } from "./words.mjs";

// The worker of digest.mjs: is given a file, answers with its md5.

import { md5OfFile } from "./md5.mjs";

addEventListener("message", async ({ data: file }) => {
  try {
    postMessage({ md5: await md5OfFile(file) });
  } catch (error) {
    postMessage({ error: error.message });
  }
});

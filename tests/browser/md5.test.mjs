// Run with `node --test tests/browser/`.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { Md5 } from "../../assets/client/md5.mjs";

const text = (text) => new Md5().update(new TextEncoder().encode(text)).hex();
const known = (bytes) => createHash("md5").update(bytes).digest("hex");

test("the vectors of RFC 1321", () => {
  assert.equal(text(""), "d41d8cd98f00b204e9800998ecf8427e");
  assert.equal(text("a"), "0cc175b9c0f1b6a831c399e269772661");
  assert.equal(text("abc"), "900150983cd24fb0d6963f7d28e17f72");
  assert.equal(text("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
  assert.equal(text("1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a");
});

test("every length around the block size", () => {
  for (let length = 0; length <= 260; length++) {
    const bytes = randomBytes(length);
    assert.equal(new Md5().update(bytes).hex(), known(bytes), `${length} bytes`);
  }
});

test("pieces of any size", () => {
  const bytes = randomBytes(100_000);
  for (const most of [1, 7, 63, 64, 65, 1000, 70_000]) {
    const md5 = new Md5();
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + Math.floor(Math.random() * most);
      md5.update(bytes.subarray(at, at + length));
      at += length;
    }
    assert.equal(md5.hex(), known(bytes), `pieces up to ${most} bytes`);
  }
});

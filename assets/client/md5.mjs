// A running MD5 (RFC 1321) over bytes that arrive in pieces. Browsers offer no MD5, and the doors compare one
// at completion. A checksum against damage on the way, not a proof of origin.

const SHIFTS = Int32Array.of(7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21);
const SINES = Int32Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32));

/** The digest of everything given to `update`. */
export class Md5 {
  #state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  #words = new Int32Array(16);
  #block = new Uint8Array(64);
  #length = 0;

  /** Takes in the next bytes, a Uint8Array. */
  update(bytes) {
    let at = 0;
    let held = this.#length % 64;
    this.#length += bytes.length;
    if (held > 0) {
      at = Math.min(64 - held, bytes.length);
      this.#block.set(bytes.subarray(0, at), held);
      if (held + at < 64) return this;
      this.#mix(this.#block, 0);
    }
    for (; at + 64 <= bytes.length; at += 64) this.#mix(bytes, at);
    this.#block.set(bytes.subarray(at));
    return this;
  }

  /** The digest in lower-case hexadecimal. Nothing can be taken in afterwards. */
  hex() {
    const length = this.#length;
    const padding = new Uint8Array(((55 - (length % 64) + 64) % 64) + 9);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    // The length in bits, as two 32-bit words: a file of 512 MiB overflows one.
    view.setUint32(padding.length - 8, (length % 2 ** 29) * 8, true);
    view.setUint32(padding.length - 4, Math.floor(length / 2 ** 29), true);
    this.update(padding);
    const digest = new DataView(new ArrayBuffer(16));
    this.#state.forEach((word, i) => digest.setInt32(i * 4, word, true));
    return Array.from(new Uint8Array(digest.buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  #mix(bytes, at) {
    const words = this.#words;
    for (let i = 0; i < 16; i++, at += 4) {
      words[i] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    }
    const state = this.#state;
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    for (let i = 0; i < 64; i++) {
      let mixed, word;
      if (i < 16) (mixed = (b & c) | (~b & d)), (word = i);
      else if (i < 32) (mixed = (d & b) | (~d & c)), (word = (5 * i + 1) & 15);
      else if (i < 48) (mixed = b ^ c ^ d), (word = (3 * i + 5) & 15);
      else (mixed = c ^ (b | ~d)), (word = (7 * i) & 15);
      const sum = (a + mixed + SINES[i] + words[word]) | 0;
      const shift = SHIFTS[((i >> 4) << 2) | (i & 3)];
      a = d;
      d = c;
      c = b;
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
  }
}

const SLICE_BYTES = 1 << 20;

/** The md5 of a file in hexadecimal, read slice by slice, so that whoever waits beside it gets a turn. */
export async function md5OfFile(file, signal) {
  const md5 = new Md5();
  for (let at = 0; at < file.size; at += SLICE_BYTES) {
    signal?.throwIfAborted();
    md5.update(new Uint8Array(await file.slice(at, at + SLICE_BYTES).arrayBuffer()));
  }
  return md5.hex();
}

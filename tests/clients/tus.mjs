// Uploads files with npm's tus-js-client: in one request, in chunks, without a length, in four parts at the same time, with
// an upload that is left and resumed, and one that is terminated; the first request signed (v1), the others under the
// upload's token.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

const { Upload } = createRequire(process.cwd() + '/')('tus-js-client');
const [base, id, secret] = process.argv.slice(2);

function signed() {
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = createHmac('sha256', secret).update(timestamp).digest('hex');
    return { 'X-Api-Key': id, 'X-Timestamp': timestamp, 'X-Signature': signature };
}

/** Options that sign what begins an upload, and send the upload's own token with everything else. */
function proving(tokens, seen = []) {
    return {
        endpoint: `${base}/files/`,
        retryDelays: [0, 50, 200],
        onBeforeRequest(request) {
            seen.push(request.getMethod());
            const token = tokens.get(request.getURL());
            const proof = token ? { 'Upload-Token': token } : signed();
            for (const [name, value] of Object.entries(proof)) request.setHeader(name, value);
        },
        onAfterResponse(request, response) {
            if (response.getStatus() === 401) tokens.delete(request.getURL());
            const fresh = response.getHeader('Upload-Token');
            if (fresh) tokens.set(response.getHeader('Location') ?? request.getURL(), fresh);
        },
    };
}

function ended(content, options, started = () => {}) {
    return new Promise((resolve, reject) => {
        const upload = new Upload(content, {
            ...options,
            onSuccess: () => resolve(upload),
            onError: reject,
        });
        upload.start();
        started(upload, resolve);
    });
}

async function assertStored(url, content) {
    const answer = await fetch(url, { headers: signed() });
    const stored = Buffer.from(await answer.arrayBuffer());
    assert.equal(answer.status, 200, stored.toString());
    assert.ok(stored.equals(content), 'the stored file is another');
}

const content = randomBytes(3 * 1024 * 1024 + 17);
const metadata = { filename: 'Żółw 1.bin', filetype: 'application/x-turtle' };

for (const more of [{}, { chunkSize: 700_000 }, { chunkSize: 700_000, uploadDataDuringCreation: true }]) {
    const upload = await ended(content, { ...proving(new Map()), metadata, ...more });
    await assertStored(upload.url, content);
}

// Nobody knows how long a stream is.
const streamed = await ended(Readable.from([content.subarray(0, 1_000_000), content.subarray(1_000_000)]), {
    ...proving(new Map()),
    uploadLengthDeferred: true,
    chunkSize: 1_200_000,
});
await assertStored(streamed.url, content);

// In parts: each is made, sent, and joined to one file, which alone has the name.
const requests = [];
const joined = await ended(content, { ...proving(new Map(), requests), metadata, parallelUploads: 4 });
await assertStored(joined.url, content);
assert.deepEqual(requests.toSorted(), [...Array(4).fill('PATCH'), ...Array(5).fill('POST')]);
const files = await fetch(`${base}/api/v1/uploads?limit=1`, { headers: signed() });
const [newest] = (await files.json()).uploads;
assert.equal(newest.filename, metadata.filename, 'parts are no files');
assert.ok(joined.url.endsWith(newest.id));

// Left in the middle, and resumed by somebody who knows its URL and its token.
const tokens = new Map();
const left = await ended(content, { ...proving(tokens), chunkSize: 500_000 }, (upload, resolve) => {
    upload.options.onChunkComplete = async (_, offset) => {
        if (offset < 1_000_000) return;
        await upload.abort();
        resolve(upload);
    };
});
const seen = [];
const resumed = await ended(content, { ...proving(tokens, seen), uploadUrl: left.url });
assert.equal(resumed.url, left.url);
assert.deepEqual(seen, ['HEAD', 'PATCH'], 'it goes on where it was');
await assertStored(left.url, content);

await resumed.abort(true);
assert.equal((await fetch(left.url, { headers: signed() })).status, 410);
console.log('tus-js-client: accepted');

// Uploads files with npm's tus-js-client: in one request, in chunks, without a length, in four parts at the same time, with
// an upload that is left and resumed, and one that is terminated; the first request signed (v1), the others under the
// upload's token.
import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

const require = createRequire(process.cwd() + '/');
const { Upload } = require('tus-js-client');
const { httpbis, createSigner } = require('http-message-signatures');
const [base, id, secret] = process.argv.slice(2);

function signed() {
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = createHmac('sha256', secret).update(timestamp).digest('hex');
    return { 'X-Api-Key': id, 'X-Timestamp': timestamp, 'X-Signature': signature };
}

/** What else of a request a v2 signature (npm's http-message-signatures) covers here. */
const COVERED = ['Upload-Offset', 'Upload-Length', 'Upload-Metadata', 'Content-Type', 'Content-Digest'];

/** The headers that sign a request by v2, with those of its own that a signature has to cover. */
async function signedMessage(request) {
    const own = COVERED.map((name) => [name, request.getHeader(name)]).filter(([, value]) => value !== undefined);
    const { headers } = await httpbis.signMessage(
        {
            key: createSigner(Buffer.from(secret), 'hmac-sha256', id),
            fields: ['@method', '@authority', '@path', '@query', ...own.map(([name]) => name.toLowerCase())],
            params: ['created', 'keyid', 'alg', 'nonce', 'tag'],
            paramValues: { nonce: randomUUID(), tag: 'chunkgate' },
        },
        { method: request.getMethod(), url: request.getURL(), headers: Object.fromEntries(own) },
    );
    return { 'Signature-Input': headers['Signature-Input'], Signature: headers.Signature };
}

/** Options that sign what begins an upload, and send the upload's own token with everything else. */
function proving(tokens, seen = [], sign = signed) {
    return {
        endpoint: `${base}/files/`,
        retryDelays: [0, 50, 200],
        async onBeforeRequest(request) {
            seen.push(request.getMethod());
            const token = tokens.get(request.getURL());
            const proof = token ? { 'Upload-Token': token } : await sign(request);
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
assert.deepEqual([...requests].sort(), [...Array(4).fill('PATCH'), ...Array(5).fill('POST')]);
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

// Signed by v2 to begin with, and then under the token: the body may be as long as it likes.
const begun = await ended(content, { ...proving(new Map(), [], signedMessage), metadata });
await assertStored(begun.url, content);

// Each request signed by v2. What a chunk holds is known, so its digest can be sent, and covered.
const CHUNK = 700_000;
const digested = {
    endpoint: `${base}/files/`,
    chunkSize: CHUNK,
    async onBeforeRequest(request) {
        if (request.getMethod() === 'PATCH') {
            const offset = Number(request.getHeader('Upload-Offset'));
            const digest = createHash('sha256').update(content.subarray(offset, offset + CHUNK)).digest('base64');
            request.setHeader('Content-Digest', `sha-256=:${digest}:`);
        }
        for (const [name, value] of Object.entries(await signedMessage(request))) request.setHeader(name, value);
    },
};
const each = await ended(content, digested);
await assertStored(each.url, content);
const gone = await ended(content, digested);
await gone.abort(true);
assert.equal((await fetch(gone.url, { headers: signed() })).status, 410);
// Without a digest the service, which asks for one, refuses the body.
await assert.rejects(ended(content, { ...digested, onBeforeRequest: async (request) => {
    for (const [name, value] of Object.entries(await signedMessage(request))) request.setHeader(name, value);
} }), /content-digest/i);

await resumed.abort(true);
assert.equal((await fetch(left.url, { headers: signed() })).status, 410);
console.log('tus-js-client: accepted');

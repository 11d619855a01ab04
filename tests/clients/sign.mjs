// Uploads a file under signed requests (scheme v2), with npm's http-message-signatures.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

const { httpbis, createSigner } = createRequire(process.cwd() + '/')('http-message-signatures');
const [base, id, secret] = process.argv.slice(2);
const covered = ['content-range', 'upload-offset', 'upload-length', 'content-digest', 'content-type'];

async function send(method, path, { headers = {}, body, key = secret } = {}) {
    if (body) {
        const digest = createHash('sha256').update(body).digest('base64');
        headers = { ...headers, 'content-digest': `sha-256=:${digest}:` };
    }
    const fields = covered.filter((name) => name in headers);
    const signed = await httpbis.signMessage(
        {
            key: createSigner(Buffer.from(key), 'hmac-sha256', id),
            fields: ['@method', '@authority', '@path', '@query', ...fields],
            params: ['created', 'keyid', 'alg', 'nonce', 'tag'],
            paramValues: { nonce: randomUUID(), tag: 'chunkgate' },
        },
        { method, url: base + path, headers },
    );
    return fetch(base + path, { method, headers: signed.headers, body });
}

async function expect(status, answer) {
    const got = await answer;
    const bytes = Buffer.from(await got.arrayBuffer());
    assert.equal(got.status, status, `${got.url}: ${bytes}`);
    return bytes;
}

const content = Buffer.from('0123456789');
const chunk = (from, to) => ({
    headers: {
        'content-range': `bytes ${from}-${to}/10`,
        'content-type': 'application/octet-stream',
        'content-disposition': 'attachment; filename="a.bin"',
    },
    body: content.subarray(from, to + 1),
});
await expect(200, send('POST', '/chunked_uploads/upload/', chunk(0, 4)));
await expect(200, send('POST', '/chunked_uploads/upload/', chunk(5, 9)));
const { uploads } = JSON.parse(await expect(200, send('GET', '/api/v1/uploads?state=receiving&limit=5')));
const upload = uploads.find((one) => one.filename === 'a.bin');
await expect(200, send('POST', `/chunked_uploads/upload/done/${upload.id}/`));
assert.deepEqual(await expect(200, send('GET', `/api/v1/uploads/${upload.id}/content`)), content);
await expect(204, send('DELETE', `/api/v1/uploads/${upload.id}`));
await expect(401, send('GET', '/api/v1/uploads', { key: `${secret}?` }));
console.log('node: accepted');

"""Uploads a file with PyPI's tuspy: in chunks with checksums, and once more where an upload was left; signed for all of it
(v1), and then each request anew (v2, with http-message-signatures)."""

import hashlib
import hmac
import io
import os
import secrets
import sys
import time

import requests
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from tusclient import client

base, api_key, secret = sys.argv[1:]


def signed():
    timestamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), timestamp.encode(), hashlib.sha256).hexdigest()
    return {"X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": signature}


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return secret.encode()

    resolve_public_key = resolve_private_key


SIGNER = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
COVERED = ["upload-offset", "upload-length", "content-type"]


class Signing(requests.Session):
    """Signs whatever is sent, when it is ready to be sent."""

    def prepare_request(self, request):
        prepared = super().prepare_request(request)
        covered = [name for name in COVERED if name in prepared.headers]
        SIGNER.sign(
            prepared,
            key_id=api_key,
            covered_component_ids=("@method", "@authority", "@path", "@query", *covered),
            nonce=secrets.token_urlsafe(16),
            tag="chunkgate",
            # Makes Content-Digest, and covers it.
            body=prepared.body or b"",
        )
        return prepared


content = os.urandom(1_000_003)


def upload(headers, **options):
    tus = client.TusClient(f"{base}/files/", headers=headers)
    uploader = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, **options)
    uploader.upload()
    assert requests.get(uploader.url, headers=headers).content == content, "the stored file is another"

    left = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, **options)
    left.upload_chunk()
    resumed = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, url=left.url, **options)
    assert resumed.offset == 300_000, resumed.offset
    resumed.upload()
    assert requests.get(left.url, headers=headers).content == content, "the stored file is another"


upload(signed(), upload_checksum=True)
# tuspy makes a session of requests for each of its own, and has no hook.
requests.sessions.Session = Signing
upload({}, upload_checksum=True)
upload({})
secret += "?"
assert requests.get(f"{base}/api/v1/uploads").status_code == 401
print("tuspy: accepted")

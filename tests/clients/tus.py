"""Uploads a file with PyPI's tuspy: in chunks with checksums, and once more where an upload was left; signed for all of it
(v1), each request anew (v2, with http-message-signatures), and signed once by either, then under the upload's token."""

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
    """Signs whatever is sent without a token, when it is ready to be sent."""

    def prepare_request(self, request):
        prepared = super().prepare_request(request)
        if "upload-token" in prepared.headers:
            return prepared
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


def begun(proof):
    """Where a new upload is, and its token: of its own first request's answer tuspy tells the place alone."""
    headers = {**proof, "Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))}
    made = requests.post(f"{base}/files/", headers=headers)
    assert made.status_code == 201, made.text
    return made.headers["Location"], made.headers["Upload-Token"]


def upload_under_token(proof, **options):
    url, token = begun(proof)
    tus = client.TusClient(f"{base}/files/", headers={"Upload-Token": token})

    def go_on(stop_at=len(content)):
        uploader = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, url=url, **options)
        came_in_at = uploader.offset
        while uploader.offset < stop_at:
            uploader.upload_chunk()
            # Past half of its life a token is answered with the next one.
            fresh = uploader.request.response_headers.get("upload-token")
            tus.set_headers({"Upload-Token": fresh} if fresh else {})
        return came_in_at

    assert go_on(stop_at=500_000) == 0
    assert go_on() == 600_000, "it goes on where it was"
    assert requests.get(url, headers=tus.headers).content == content, "the stored file is another"
    # It is good for this upload alone.
    refused = requests.post(f"{base}/files/", headers={**tus.headers, "Tus-Resumable": "1.0.0", "Upload-Length": "1"})
    assert refused.status_code == 403, refused.text


upload(signed(), upload_checksum=True)
upload_under_token(signed())
# tuspy makes a session of requests for each of its own, and has no hook.
requests.sessions.Session = Signing
upload({}, upload_checksum=True)
upload({})
upload_under_token({})
upload_under_token({}, upload_checksum=True)
secret += "?"
assert requests.get(f"{base}/api/v1/uploads").status_code == 401
print("tuspy: accepted")

"""Uploads a file under signed requests (scheme v2), with PyPI's http-message-signatures."""
import hashlib
import secrets
import sys

import requests
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

BASE, KEY, SECRET = sys.argv[1:4]
CONTENT = b"0123456789"


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return SECRET.encode()

    def resolve_public_key(self, key_id):
        return SECRET.encode()


SIGNER = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
COVERED = ["content-range", "upload-offset", "upload-length", "content-type"]


def send(method, path, **request):
    prepared = requests.Request(method, BASE + path, **request).prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    covered = [name for name in COVERED if name in prepared.headers]
    SIGNER.sign(
        prepared,
        key_id=KEY,
        covered_component_ids=("@method", "@authority", "@path", "@query", *covered),
        nonce=secrets.token_urlsafe(16),
        tag="chunkgate",
        # Makes Content-Digest, and covers it.
        body=body,
    )
    return requests.Session().send(prepared)


def expect(status, response):
    assert response.status_code == status, (response.request.url, response.status_code, response.text)
    return response


first = {"Content-Range": "bytes 0-4/10"}
answer = expect(200, send("POST", "/chunked_upload/", headers=first, files={"file": ("a.bin", CONTENT[:5])}))
upload = answer.json()["upload_id"]
rest = {"headers": {"Content-Range": "bytes 5-9/10"}, "files": {"file": ("a.bin", CONTENT[5:])}}
expect(200, send("POST", "/chunked_upload/", data={"upload_id": upload}, **rest))
md5 = hashlib.md5(CONTENT).hexdigest()
expect(200, send("POST", "/chunked_upload_complete/", data={"upload_id": upload, "md5": md5}))
listed = expect(200, send("GET", "/api/v1/uploads?state=complete&limit=5")).json()["uploads"]
assert any(one["id"].replace("-", "") == upload for one in listed), listed
assert expect(200, send("GET", f"/api/v1/uploads/{upload}/content")).content == CONTENT
expect(204, send("DELETE", f"/api/v1/uploads/{upload}"))
SECRET += "?"
expect(401, send("GET", "/api/v1/uploads"))
print("python: accepted")

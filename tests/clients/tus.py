"""Uploads a file with PyPI's tuspy: in chunks with checksums, and once more where an upload was left."""

import hashlib
import hmac
import io
import os
import sys
import time

import requests
from tusclient import client

base, api_key, secret = sys.argv[1:]


def signed():
    timestamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), timestamp.encode(), hashlib.sha256).hexdigest()
    return {"X-Api-Key": api_key, "X-Timestamp": timestamp, "X-Signature": signature}


content = os.urandom(1_000_003)
tus = client.TusClient(f"{base}/files/", headers=signed())

uploader = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, upload_checksum=True)
uploader.upload()
assert requests.get(uploader.url, headers=signed()).content == content, "the stored file is another"

left = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, upload_checksum=True)
left.upload_chunk()
resumed = tus.uploader(file_stream=io.BytesIO(content), chunk_size=300_000, url=left.url, upload_checksum=True)
assert resumed.offset == 300_000, resumed.offset
resumed.upload()
assert requests.get(left.url, headers=signed()).content == content, "the stored file is another"
print("tuspy: accepted")

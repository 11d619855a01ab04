#!/usr/bin/env python3
"""An identity server for chunkgate, on Python's standard library alone (3.7 or newer).

    IDENTITY_TOKEN=secret python3 identity_server.py 8081

Put your own users in the place of USERS and KEYS. The numbers in the comments are the steps of identity-server.md.
"""
import hashlib
import hmac
import json
import os
import sys
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = os.environ.get("IDENTITY_TOKEN") or sys.exit("set IDENTITY_TOKEN")
USERS = {"u-1": {"username": "ann", "disabled": False}, "u-2": {"username": "bob", "disabled": True}}
KEYS = {
    "ann-key": {"secret": "ann-secret", "user": "u-1", "disabled": False},
    "old-key": {"secret": "old-secret", "user": "u-1", "disabled": True},
    "bob-key": {"secret": "bob-secret", "user": "u-2", "disabled": False},
}
NOBODY = {"secret": "the secret of a key that nobody has"}
WINDOW_SECONDS = 300
LARGEST_BYTES = 64 * 1024


def same(one, other):
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def unix_seconds(text):
    """10 digits are seconds, 13 milliseconds, anything else RFC 3339; None if it is no time."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) == 10 else int(text) / 1000 if len(text) == 13 else None
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return at.timestamp() if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def judge(credential):
    if credential.get("type") != "signature" or credential.get("scheme") != "v1":  # 3
        return {"status": "unsupported"}
    api_key, timestamp, signature = (credential.get(name) for name in ("api_key", "timestamp", "signature"))
    if not all(isinstance(text, str) for text in (api_key, timestamp, signature)):
        return None
    key = KEYS.get(api_key, NOBODY)  # 4
    expected = hmac.new(key["secret"].encode(), timestamp.encode("utf-8", "replace"), hashlib.sha256).hexdigest()  # 5
    if not same(expected, signature.lower()) or key is NOBODY:
        return {"status": "denied", "code": "invalid_signature"}
    at = unix_seconds(timestamp)  # 6
    if at is None or abs(time.time() - at) > WINDOW_SECONDS:
        return {"status": "denied", "code": "timestamp_out_of_window"}
    user = USERS[key["user"]]  # 7
    if user["disabled"]:
        return {"status": "denied", "code": "user_disabled", "user": {"id": key["user"]}}
    if key["disabled"]:
        return {"status": "denied", "code": "key_disabled", "user": {"id": key["user"]}}
    return {  # 8
        "status": "active",
        "user": {"id": key["user"], "username": user["username"]},
        "cache": {"ttl_seconds": 30, "scope": "proof"},
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # head and body leave together

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BYTES:
            self.close_connection = True  # what was not read must not be taken for the next question
            return self.answer(413, {"code": "too_large"})
        body = self.rfile.read(int(length))
        if self.path != "/v1/verify":
            return self.answer(404, {"code": "not_found"})
        if not same(self.headers.get("Authorization", ""), "Bearer " + TOKEN):  # 1
            return self.answer(401, {"code": "service_unauthorized"})
        try:
            question = json.loads(body.decode())  # 2
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict) or question.get("version") != "1":
            return self.answer(400, {"code": "malformed_question"})
        request_id, credential = question.get("request_id"), question.get("credential")
        verdict = judge(credential) if isinstance(request_id, str) and isinstance(credential, dict) else None
        if verdict is None:
            return self.answer(400, {"code": "malformed_question"})
        self.answer(200, dict(verdict, version="1", request_id=request_id))

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 turns connections away when many clients come at once


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    print("listening on http://127.0.0.1:%d" % server.server_port, flush=True)
    server.serve_forever()

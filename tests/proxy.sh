#!/usr/bin/env bash
# The recipe for nginx in proto-docs/operations.md, as it stands there (with other ports and a certificate of its own): a
# real nginx before the real service. Bytes of a half-sent body are known at once, URLs lead back through nginx, and the
# identity server is told who asks, whatever a client says of itself.
#
#   tests/proxy.sh [BINARY]      BINARY: target/release/chunkgate
#
# Without nginx, openssl, curl or python3 this ends with 75 and says why. nginx runs in the foreground, without root.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath -m "${1-$here/../target/release/chunkgate}")
skip() {
    if [ -n "${CHECK_REASON-}" ]; then echo "$*" >"$CHECK_REASON"; else echo "SKIPPED: $*" >&2; fi
    exit 75
}
# Where Debian keeps nginx.
PATH=$PATH:/usr/sbin
for tool in nginx openssl curl python3 setpriv; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
for name in $(compgen -e CHUNKGATE_); do unset "$name"; done
work=$(mktemp -d)
started=()
cleanup() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
    echo "proxy: $*" >&2
    for log in service nginx answer; do [ -s "$work/$log" ] && tail -n 20 "$work/$log" >&2; done
    exit 1
}
step() { echo "--- $*"; }

# A port nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
host=upload.example.org
port=$(free_port) inner=$(free_port) identity=$(free_port)
outer=https://$host:$port

# The block of that name.
block() {
    awk -v mark="<!-- test: $1 -->" '
        $0 == mark { armed = 1; next }
        armed && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }
    ' "$here/../proto-docs/operations.md" >"$work/block"
    [ -s "$work/block" ] || fail "there is no block marked <!-- test: $1 -->"
    cat "$work/block"
}

# ---- an identity server that admits everybody and writes down what it is told of the request --------------------------

cat >"$work/identity.py" <<'PYTHON'
import http.server, json, sys

class Identity(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "a") as log:
            print(json.dumps(question["request"]), file=log, flush=True)
        user = {"id": "u1", "username": "ann"}
        answer = {"version": question["version"], "request_id": question["request_id"], "status": "active", "user": user}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Identity).serve_forever()
PYTHON
python3 "$work/identity.py" "$identity" "$work/asked" &
started+=($!)

# ---- the service, and nginx before it ---------------------------------------------------------------------------------

{
    block trusted
    cat <<TOML
listen = "127.0.0.1:$inner"
[database]
url = "sqlite:$work/chunkgate.db"
[storage.local]
path = "$work/files"
[identity]
url = "http://127.0.0.1:$identity"
token = "token-of-the-test"
TOML
} >"$work/chunkgate.toml"
"$binary" serve --config "$work/chunkgate.toml" >"$work/service" 2>&1 &
started+=($!)

mkdir "$work/nginx.d"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host" -keyout "$work/nginx.d/key" -out "$work/nginx.d/pem" 2>/dev/null
{
    cat <<NGINX
pid $work/nginx.d/pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path $work/nginx.d/body;
    proxy_temp_path $work/nginx.d/proxy;
    fastcgi_temp_path $work/nginx.d/fastcgi;
    uwsgi_temp_path $work/nginx.d/uwsgi;
    scgi_temp_path $work/nginx.d/scgi;
NGINX
    block nginx
    echo "}"
} | sed "s|443 ssl|127.0.0.1:$port ssl|; s|127.0.0.1:8080|127.0.0.1:$inner|
    s|/etc/ssl/$host|$work/nginx.d/|; s|\.pem;|pem;|; s|\.key;|key;|" >"$work/nginx.d/conf"
chmod 755 "$work"
chmod 644 "$work/nginx.d/key"
unprivileged=()
if [ "$(id -u)" = 0 ]; then
    chown -R 65534:65534 "$work/nginx.d"
    unprivileged=(setpriv --reuid 65534 --regid 65534 --clear-groups)
fi
"${unprivileged[@]}" nginx -p "$work/nginx.d" -e stderr -c "$work/nginx.d/conf" -g 'daemon off;' >"$work/nginx" 2>&1 &
started+=($!)

through() { curl -sS --cacert "$work/nginx.d/pem" --resolve "$host:$port:127.0.0.1" "$@"; }
for _ in $(seq 300); do
    if through -f -o /dev/null "$outer/readyz" 2>/dev/null && (exec 3<>"/dev/tcp/127.0.0.1/$identity") 2>/dev/null; then break; fi
    sleep 0.1
done
through -f -o /dev/null "$outer/readyz" || fail "the service does not answer through nginx"

# Proofs of their own for each upload, so that the identity server is asked each time. The names with `_` are those that
# nginx drops unless it is told not to.
keys=0
sign() {
    local now signature
    keys=$((keys + 1)) now=$(date +%s)
    signature=$(printf %s "$now" | openssl dgst -sha256 -hmac secret | sed 's/.* //')
    auth=(-H "api_key: key-$keys" -H "timestamp: $now" -H "signature: $signature")
}
header() { tr -d '\r' <"$work/head" | sed -n "s/^$1: //Ip" | tail -n 1; }
told() { tail -n 1 "$work/asked" | python3 -c 'import json, sys; print(*map(json.load(sys.stdin).get, ["client_ip", "host"]))'; }
expect() { # WHAT IS SHOULD
    [ "$2" = "$3" ] || fail "$1 is '$2' and should be '$3'"
}
size=$((8 * 1048576)) half=$((3 * 1048576))
head -c "$size" /dev/urandom >"$work/file"

step "tus: a body that is half there is known to be"
sign
tus=("${auth[@]}" -H "Tus-Resumable: 1.0.0")
code=$(through "${tus[@]}" -X POST -H "Upload-Length: $size" -D "$work/head" -o "$work/answer" -w '%{http_code}' "$outer/files/")
expect "the answer to a creation" "$code" 201
location=$(header location)
expect "the beginning of Location" "${location%/*}" "$outer/files"
mkfifo "$work/body"
through "${tus[@]}" -X PATCH -H "Upload-Offset: 0" -H "Content-Type: application/offset+octet-stream" -T "$work/body" \
    -o "$work/answer" -w '%{http_code}' "$location" >"$work/code" &
sending=$!
exec 4<>"$work/body"
head -c "$half" "$work/file" >&4 || fail "half of the body does not get through"
offset=''
for _ in $(seq 100); do
    through "${tus[@]}" -f -I -o "$work/head" "$location"
    offset=$(header upload-offset)
    [ "$offset" = "$half" ] && break
    sleep 0.1
done
expect "the offset while half of the body is on its way" "$offset" "$half"
tail -c +"$((half + 1))" "$work/file" >&4
exec 4>&-
wait "$sending"
expect "the answer to the body" "$(cat "$work/code")" 204
through "${auth[@]}" -f -o "$work/stored" "$location"
cmp "$work/file" "$work/stored" || fail "the stored file is another"

step "raw: URLs lead through nginx"
sign
through "${auth[@]}" -X POST -H 'Content-Disposition: attachment; filename="file"' -H "Content-Range: bytes 0-$((size - 1))/$size" \
    -H 'Content-Type: application/octet-stream' --data-binary "@$work/file" -D "$work/head" -o "$work/answer" "$outer/chunked_uploads/upload/"
url=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$work/answer")
expect "the URL" "${url%/uploads/*}" "$outer/api/v1"
case "$(header set-cookie)" in *Secure*) ;; *) fail "the cookie is not marked Secure" ;; esac
id=${url%/content}
through "${auth[@]}" -f -X POST -o /dev/null "$outer/chunked_uploads/upload/done/${id##*/}/"
through "${auth[@]}" -f -o "$work/stored" "$url"
cmp "$work/file" "$work/stored" || fail "the stored file is another"

step "the identity server is told of the client"
lies=(-H "X-Forwarded-For: 203.0.113.7" -H "X-Forwarded-Host: evil.example" -H "X-Forwarded-Proto: http" -H "Forwarded: for=203.0.113.8;host=evil.example")
for address in 127.0.0.2 127.0.0.3; do
    sign
    through "${auth[@]}" "${lies[@]}" --interface "$address" -f -o /dev/null "$outer/api/v1/uploads"
    expect "what the identity server is told" "$(told)" "$address $host:$port"
done
sign
curl -sS "${auth[@]}" "${lies[@]}" --interface 127.0.0.2 -f -o /dev/null "http://127.0.0.1:$inner/api/v1/uploads"
expect "what is told of somebody beside nginx" "$(told)" "127.0.0.2 127.0.0.1:$inner"
echo "nginx: as the recipe says"

#!/usr/bin/env bash
# Other people's clients against `chunkgate demo`: signed requests (scheme v2) as PyPI's and npm's http-message-signatures
# make them, and tus uploads by PyPI's tuspy, npm's tus-js-client and curl, signed in either scheme and under tokens. Whoever
# signs by v2 has to send, and cover, the digest of every body.
#
#   tests/clients.sh [BINARY]      BINARY: target/release/chunkgate
#
# The libraries are installed by name into a temporary folder; without python3 or npm, or where their packages cannot be
# fetched, this ends with 75 and says why.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath -m "${1-$here/../target/release/chunkgate}")
skip() {
    if [ -n "${CHECK_REASON-}" ]; then echo "$*" >"$CHECK_REASON"; else echo "SKIPPED: $*" >&2; fi
    exit 75
}
for tool in python3 node npm curl; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
for name in $(compgen -e CHUNKGATE_); do unset "$name"; done
work=$(mktemp -d)
demo=''
cleanup() {
    if [ -n "$demo" ]; then
        kill -9 "$demo" 2>/dev/null || true
        wait "$demo" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/python" >"$work/log" 2>&1 || skip "python3 -m venv does not work (Debian: python3-venv)"
"$work/python/bin/pip" install -q http-message-signatures==3.0.0 requests tuspy==1.1.0 >>"$work/log" 2>&1 ||
    skip "PyPI's http-message-signatures and tuspy cannot be installed"
(cd "$work" && npm install --no-audit --no-fund http-message-signatures@1.0.6 tus-js-client@4.3.1 >>"$work/log" 2>&1) ||
    skip "npm's http-message-signatures and tus-js-client cannot be installed"

printf '[auth.signature]\ncontent_digest = "required"\n' >"$work/chunkgate.toml"
"$binary" demo --config "$work/chunkgate.toml" --listen 127.0.0.1:0 --identity-listen 127.0.0.1:0 --data "$work/data" \
    >"$work/demo" 2>"$work/demo.log" &
demo=$!
base=''
for _ in $(seq 300); do
    base=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$work/demo" | head -n 1) || true
    if [ -n "$base" ] && "$binary" health --url "$base" >/dev/null 2>&1; then break; fi
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log" >&2; exit 1; }
    sleep 0.1
done

"$work/python/bin/python" "$here/clients/sign.py" "$base" demo-key demo-secret
(cd "$work" && node "$here/clients/sign.mjs" "$base" demo-key demo-secret)
"$work/python/bin/python" "$here/clients/tus.py" "$base" demo-key demo-secret
(cd "$work" && node "$here/clients/tus.mjs" "$base" demo-key demo-secret)
"$here/clients/tus.sh" "$binary" "$base" demo-key demo-secret

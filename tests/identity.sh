#!/usr/bin/env bash
# The identity servers of proto-docs/examples keep the protocol, as `chunkgate identity check` judges it, and the schemas
# of proto-docs/schemas hold for what service and reference server say to each other.
#
#   tests/identity.sh [BINARY]      BINARY: target/release/chunkgate
#
# Needs python3, node and npm; without one of them this ends with 75 and says which.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath -m "${1-$here/../target/release/chunkgate}")
for tool in python3 node npm; do
    if ! command -v "$tool" >/dev/null; then
        reason="$tool is not installed"
        if [ -n "${CHECK_REASON-}" ]; then echo "$reason" >"$CHECK_REASON"; else echo "SKIPPED: $reason" >&2; fi
        exit 75
    fi
done
for name in $(compgen -e CHUNKGATE_); do unset "$name"; done
work=$(mktemp -d)
server=''
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=''
    fi
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "identity: $*" >&2
    exit 1
}

export CHUNKGATE_IDENTITY__TOKEN=example-token CHUNKGATE_API_KEY=ann-key CHUNKGATE_SECRET=ann-secret

# keeps_the_protocol COMMAND… -- starts the server on any free port and asks it everything that its users allow for.
keeps_the_protocol() {
    local name url=''
    name=$(basename "${*: -1}")
    IDENTITY_TOKEN=$CHUNKGATE_IDENTITY__TOKEN "$@" 0 >"$work/told" 2>"$work/log" &
    server=$!
    for _ in $(seq 300); do
        url=$(grep -oE 'http://[0-9.:]+' "$work/told" || true)
        if [ -n "$url" ]; then break; fi
        kill -0 "$server" 2>/dev/null || fail "$name ended by itself: $(cat "$work/log")"
        sleep 0.1
    done
    [ -n "$url" ] || fail "$name does not listen"
    # More patient than the service: this machine may be busy.
    "$binary" identity check --url "$url" --try-timeout 20s --disabled-user bob-key:bob-secret \
        --disabled-key old-key:old-secret >"$work/report" || fail "$name breaks the protocol:"$'\n'"$(grep -v '^ok' "$work/report")"
    echo "$name: $(tail -n 1 "$work/report")"
    stop
}

keeps_the_protocol python3 "$here/../proto-docs/examples/identity_server.py"
keeps_the_protocol node "$here/../proto-docs/examples/identity_server.mjs"
cd "$here/identity"
npm ci --no-audit --no-fund >"$work/npm" 2>&1 || { cat "$work/npm" >&2; exit 1; }
unset CHUNKGATE_IDENTITY__TOKEN CHUNKGATE_API_KEY CHUNKGATE_SECRET
node schemas.mjs "$binary"

#!/usr/bin/env bash
# The progress bar of `chunkgate upload`, as a terminal sees it: a bar with sizes and a rate while the file is on its
# way, the bar gone and one line of result at the end. The service is `chunkgate demo`.
#
#   tests/progress.sh [BINARY]      BINARY: target/release/chunkgate
#
# The terminal is made by script(1) of util-linux; without it this ends with 75 and says why.
set -euo pipefail

binary=$(realpath -m "${1-$(dirname "$0")/../target/release/chunkgate}")
if ! command -v script >/dev/null; then
    reason="script(1) of util-linux is not installed"
    if [ -n "${CHECK_REASON-}" ]; then echo "$reason" >"$CHECK_REASON"; else echo "SKIPPED: $reason" >&2; fi
    exit 75
fi
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

fail() {
    echo "progress: $*; the terminal saw" >&2
    cat -v "$work/screen" >&2 || true
    exit 1
}

# A port nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
url=http://127.0.0.1:$(free_port)
"$binary" demo --data "$work/data" --listen "${url#http://}" --identity-listen "127.0.0.1:$(free_port)" \
    >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 150); do
    if "$binary" health --url "$url" >/dev/null 2>&1; then break; fi
    sleep 0.2
done
kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log" >&2; exit 1; }

# Large enough to be drawn more than once by a fast machine.
head -c 134217728 /dev/zero >"$work/file.bin"
cat >"$work/upload.sh" <<SH
stty cols 120 rows 24
cd "$work"
exec "$binary" upload file.bin --state-dir "$work/state" --url "$url" --api-key demo-key --secret demo-secret
SH
# The size is given inside: script's terminal takes that of its own, which may be none.
TERM=xterm script -qec "sh '$work/upload.sh'" /dev/null </dev/null >"$work/screen" 2>&1 || fail "the upload failed"

# Redrawn lines as lines, without the sequences that move the cursor.
tr '\r' '\n' <"$work/screen" | sed 's/\x1b\[[0-9;?]*[A-Za-z]//g' >"$work/lines"
bar=$(grep -E '^ *file\.bin \[=*>? *\] +[0-9.]+ [KMG]?i?B/128\.00 MiB +[0-9.]+ [KMG]?i?B/s +ETA' "$work/lines" | grep -v ' 0 B/s' | tail -n 1) ||
    fail "there is no bar with sizes and a rate"
grep -qF $'\x1b[' "$work/screen" || fail "the bar was not redrawn in place"
result=$(grep -v '^ *$' "$work/lines" | tail -n 1)
grep -qE "^file\.bin: [0-9a-f-]{36} $url/api/v1/uploads/[0-9a-f-]{36}/content *$" <<<"$result" ||
    fail "the last line is not the result"
echo "$bar"
echo "$result"

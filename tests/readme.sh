#!/usr/bin/env bash
# Runs what README.md tells its reader to run, taken from README.md: a block that follows `<!-- test: NAME -->` is run
# as it stands, in a fresh clone of HEAD, with other ports. In the middle of the upload the server is killed.
#
# CARGO_TARGET_DIR shares a target folder. README_PORT and README_IDENTITY_PORT choose the ports, else any free ones.
set -euo pipefail

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
server=''
cleanup() {
    if [ -n "$server" ]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
    echo "README: $*" >&2
    if [ -f "$work/demo.log" ]; then
        echo "--- the demo's output ends with" >&2
        tail -n 30 "$work/demo.log" >&2
    fi
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
port=${README_PORT:-$(free_port)}
identity_port=${README_IDENTITY_PORT:-$(free_port)}
url=http://127.0.0.1:$port

if ! git -C "$repository" diff --quiet HEAD; then step "HEAD is tested, not what is uncommitted"; fi
# Whoever owns the repository: root in a container may not be its owner.
printf '[safe]\n\tdirectory = *\n' >"$work/gitconfig"
GIT_CONFIG_GLOBAL=$work/gitconfig git clone -q "$repository" "$work/clone"
cd "$work/clone"
export XDG_STATE_HOME=$work/state

# The block of that name, with this run's port.
block() {
    awk -v mark="<!-- test: $1 -->" '
        $0 == mark { armed = 1; next }
        armed && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }
    ' README.md | sed "s|127\.0\.0\.1:8080|127.0.0.1:$port|g" >"$work/$1.sh"
    [ -s "$work/$1.sh" ] || fail "there is no block marked <!-- test: $1 -->"
    echo "$work/$1.sh"
}

start_demo() {
    local command
    command=$(cat "$(block demo)")
    # `exec` twice: this shell becomes cargo, and cargo becomes the server, so the process to kill is known.
    bash -c "exec $command --listen 127.0.0.1:$port --identity-listen 127.0.0.1:$identity_port" >>"$work/demo.log" 2>&1 &
    server=$!
    local waited=0
    until command curl -sf -o /dev/null "$url/readyz"; do
        kill -0 "$server" 2>/dev/null || fail "the demo ended by itself"
        [ "$waited" -lt 1800 ] || fail "the demo does not answer after 15 minutes"
        waited=$((waited + 1))
        sleep 0.5
    done
}

# Stands in for curl while README's lines run: the fifth chunk is sent slowly, and the server dies under it.
chunks=$work/chunks
curl() {
    case "$*" in
        *Content-Range*)
            echo >>"$chunks"
            if [ -e "$work/killer" ] && [ "$(wc -l <"$chunks")" -eq 5 ]; then
                rm "$work/killer"
                (
                    sleep 0.5
                    kill -9 "$server"
                ) &
                command curl --limit-rate 4M "$@"
                return
            fi
            ;;
    esac
    command curl "$@"
}
run() { source "$(block "$1")"; }

step "$(cat "$(block demo)")"
start_demo

step "one command uploads a file"
bash -c "$(cat "$(block client)")" >"$work/client.log" 2>&1 || { cat "$work/client.log" >&2; fail "the upload command failed"; }

step "curl uploads, and the server is killed"
run file 2>/dev/null
run sign
touch "$work/killer"
if run send; then fail "the upload was not interrupted"; fi
[ ! -e "$work/killer" ] || fail "the server was not killed"
wait "$server" 2>/dev/null || true
acknowledged=$offset
[ "$acknowledged" -eq $((4 * 8 * 1048576)) ] || fail "four chunks were to be acknowledged, not $acknowledged bytes"

step "it starts again, and the upload goes on"
start_demo
run sign
run resume || fail "the upload could not be resumed"
[ "$offset" -eq "$size" ] || fail "the upload ends at $offset of $size bytes"
[ "$(wc -l <"$chunks")" -eq 14 ] || fail "13 chunks and the lost one were to be sent, not $(wc -l <"$chunks")"

step "a wrong md5 is refused, the right one completes"
wrong=$(command curl -sS "${auth[@]}" -d "upload_id=$id" -d "md5=00000000000000000000000000000000" \
    -w ' %{http_code}' "$url/chunked_upload_complete/")
[ "$wrong" = '{"detail": "md5 checksum does not match"} 400' ] || fail "a wrong md5 is answered with $wrong"
answer=$(run complete)
[ "$answer" = '{} 200' ] || fail "completion is answered with $answer"

step "the stored file is the same"
compared=$(run compare)
echo "$compared"
case "$compared" in
    *"is the same file") ;;
    *) fail "the stored file differs or is not there" ;;
esac

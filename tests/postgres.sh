#!/usr/bin/env bash
# A private PostgreSQL for tests: a cluster in a folder, reached on a loopback port, thrown away afterwards.
#
#   tests/postgres.sh available      exit code: whether the programs are there
#   tests/postgres.sh start DIR      makes DIR and starts a server in it; prints its URL
#   tests/postgres.sh stop DIR       stops that server and removes DIR
#
# PostgreSQL refuses to run as root; root runs it as `postgres` (or `nobody`), everybody else as themselves.
# Nothing is kept, so nothing waits for the disk.
set -euo pipefail

# The folder with initdb: on the path, or where Debian keeps the newest version.
bin() {
    local found
    found=$(command -v initdb || true)
    [ -n "$found" ] || found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$found" ] && dirname "$(readlink -f "$found")"
}

as_server() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
        return
    fi
    local user=nobody
    if id postgres >/dev/null 2>&1; then user=postgres; fi
    setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
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

start() {
    local dir=$1 port try
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ "$(id -u)" = 0 ]; then
        local user=nobody
        if id postgres >/dev/null 2>&1; then user=postgres; fi
        chown "$user" "$dir"
    fi
    cd "$dir"
    if ! as_server "$bin/initdb" --pgdata data --username chunkgate --auth trust --encoding UTF8 --locale C --no-sync \
        >initdb.log 2>&1; then
        cat initdb.log >&2
        exit 1
    fi
    for try in 1 2 3 4 5; do
        port=$(free_port)
        if as_server "$bin/pg_ctl" start --pgdata data --log server.log --wait --timeout 60 --silent --options \
            "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300" \
            >/dev/null 2>&1; then
            echo "postgres://chunkgate@127.0.0.1:$port/postgres"
            return
        fi
    done
    cat server.log >&2
    exit 1
}

stop() {
    local dir=$1
    [ -d "$dir" ] || return 0
    if [ -f "$dir/data/postmaster.pid" ]; then
        (cd "$dir" && as_server "$bin/pg_ctl" stop --pgdata data --mode immediate --wait --timeout 60 --silent)
    fi
    rm -rf "$dir"
}

bin=$(bin) || { echo "initdb was not found: install PostgreSQL" >&2; exit 1; }
case "${1-} $#" in
    'available 1') ;;
    'start 2') start "$2" ;;
    'stop 2') stop "$2" ;;
    *)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac

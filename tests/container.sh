#!/usr/bin/env bash
# Runs the service as its container image does: a user without privileges, a root that cannot be written, one data
# folder, secrets as files. It becomes ready, takes a file, stops when told, and leaves nothing outside its folder.
#
#   tests/container.sh [BINARY]      BINARY: target/release/chunkgate
#
# Where docker's engine answers, the image is built and run. Elsewhere root makes a root of the same shape in a mount
# namespace of its own (the system's folders, the binary and the Dockerfile's configuration, all read-only) and runs
# BINARY there without capabilities. Where neither is possible it ends with 75 and says why. CONTAINER_ENGINE=none leaves
# docker aside.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
user=10001
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
key=(--api-key container-key --secret container-secret)

skip() {
    if [ -n "${CHECK_REASON-}" ]; then echo "$*" >"$CHECK_REASON"; else echo "SKIPPED: $*" >&2; fi
    exit 75
}
fail() {
    echo "container: $*" >&2
    local log
    for log in service identity; do
        [ -f "$work/$log.log" ] || logs "$log" >"$work/$log.log" 2>&1 || true
        echo "--- the log of $log ends with" >&2
        tail -n 20 "$work/$log.log" >&2
    done
    exit 1
}
step() { echo "--- $*"; }

# What every way of running needs: users, token, a file. The service's user must be able to read the first two.
prepare() {
    chmod 755 "$work"
    mkdir "$work/identity" "$work/state"
    printf %s "$token" >"$work/identity-token"
    cat >"$work/identity/users.toml" <<TOML
[[users]]
id = "container"
username = "container"
[[users.keys]]
api_key = "container-key"
secret = "container-secret"
TOML
    head -c 3000000 /dev/urandom >"$work/file.bin"
    chmod 644 "$work/identity-token" "$work/identity/users.toml" "$work/file.bin"
    chmod 755 "$work/identity"
}

# until_ready: as the image's HEALTHCHECK asks.
until_ready() {
    local tries
    for tries in $(seq 150); do
        if health >"$work/health" 2>&1; then return; fi
        running || fail "the service ended by itself"
        sleep 0.2
    done
    cat "$work/health" >&2
    fail "the service is not ready"
}

# The story; how each deed is done depends on the way of running.
prove() {
    step "$way"
    start
    until_ready
    cat "$work/health"
    step "a file goes up"
    upload || fail "the file was not taken"
    stored || fail "the stored file differs or is not there"
    step "confined: user $user, no capabilities, nothing writable but the data folder"
    confined || fail "the service could do more than it needs"
    step "SIGTERM ends it"
    local status=0
    stop || status=$?
    [ "$status" = 0 ] || fail "it ended with $status"
    clean || fail "something was written outside the data folder"
    if health >/dev/null 2>&1; then fail "'health' of a stopped service must fail"; fi
    step "it ended with 0 and left nothing outside the data folder"
}

# ---- docker --------------------------------------------------------------------------------------------------------

with_docker() {
    way="the image, built and run by docker"
    local name=chunkgate-check-$$
    image=$name volume=$name-data service=$name-service identity=$name-identity
    hardened=(--read-only --cap-drop ALL --security-opt no-new-privileges)
    work=$(mktemp -d)
    trap 'docker rm -f "$service" "$identity" >/dev/null 2>&1; docker volume rm "$volume" >/dev/null 2>&1; docker rmi "$image" >/dev/null 2>&1; rm -rf "$work"' EXIT
    prepare
    DOCKER_BUILDKIT=1 docker build --quiet --tag "$image" "$repository" >/dev/null
    health() { docker exec "$service" chunkgate health; }
    running() { [ "$(docker inspect --format '{{.State.Running}}' "$service")" = true ]; }
    logs() { docker logs "$name-$1"; }
    start() {
        # One network, with nothing on it but loopback.
        docker run --detach --name "$identity" --network none "${hardened[@]}" --no-healthcheck \
            --volume "$work/identity:/etc/identity:ro" --volume "$work/identity-token:/run/secrets/identity-token:ro" "$image" \
            identity serve --users /etc/identity/users.toml --token-file /run/secrets/identity-token >/dev/null
        docker run --detach --name "$service" --network "container:$identity" "${hardened[@]}" \
            --volume "$volume:/var/lib/chunkgate" --volume "$work/identity-token:/run/secrets/identity-token:ro" \
            --env CHUNKGATE_IDENTITY__URL=http://127.0.0.1:8081 \
            --env CHUNKGATE_IDENTITY__TOKEN_FILE=/run/secrets/identity-token "$image" >/dev/null
    }
    upload() {
        docker run --rm --network "container:$identity" "${hardened[@]}" --tmpfs /tmp --env XDG_STATE_HOME=/tmp \
            --volume "$work/file.bin:/file.bin:ro" "$image" upload /file.bin --url http://127.0.0.1:8080 "${key[@]}"
    }
    stored() {
        docker exec "$service" find /var/lib/chunkgate/chunkgate-data/files/chunked_uploads -type f -exec cat {} + |
            cmp - "$work/file.bin"
    }
    confined() {
        local status
        status=$(docker exec "$service" cat /proc/1/status)
        is_unprivileged <<<"$status" && ! docker exec "$service" touch /tmp/probe 2>/dev/null
    }
    stop() {
        docker stop --time 45 "$service" >/dev/null
        return "$(docker inspect --format '{{.State.ExitCode}}' "$service")"
    }
    clean() { [ -z "$(docker diff "$service" | grep -v '^. /run' || true)" ]; }
    prove
}

# Reads /proc/PID/status.
is_unprivileged() {
    awk -v user="$user" '
        /^Uid:|^Gid:/ { for (i = 2; i <= 5; i++) if ($i != user) bad = 1 }
        /^Groups:/ { for (i = 2; i <= NF; i++) if ($i != user) bad = 1 }
        /^Cap(Prm|Eff|Bnd|Amb|Inh):/ && $2 !~ /^0+$/ { bad = 1 }
        /^NoNewPrivs:/ { seen = 1; if ($2 != 1) bad = 1 }
        bad { print "unexpected: " $0 > "/dev/stderr"; exit }
        END { exit bad || !seen }
    '
}

# ---- a mount namespace ----------------------------------------------------------------------------------------------

# The text of a file that the Dockerfile writes.
from_dockerfile() {
    awk -v path="$1" '
        $1 == "COPY" && $3 == path { end = substr($2, 3); inside = 1; next }
        inside && $0 == end { exit }
        inside { print }
    ' "$repository/Dockerfile"
}
# The variables that the Dockerfile sets, a line each.
variables() { sed -n 's/^ENV //p' "$repository/Dockerfile"; }

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# The image's root out of the system's own folders, in this script's mount namespace.
build_root() {
    local name
    mkdir "$root" "$work/data"
    mount -t tmpfs -o mode=755 tmpfs "$root"
    mkdir -p "$root"/{usr,etc,dev,proc,tmp,run/secrets,var/lib/chunkgate}
    chmod 1777 "$root/tmp"
    mount --bind /usr "$root/usr"
    mount -t tmpfs -o mode=755 tmpfs "$root/usr/local"
    install -D -m 755 "$binary" "$root/usr/local/bin/chunkgate"
    for name in bin lib lib32 lib64; do
        if [ -L "/$name" ]; then
            cp -P "/$name" "$root/$name"
        elif [ -d "/$name" ]; then
            mkdir "$root/$name" && mount --bind "/$name" "$root/$name"
        fi
    done
    for name in ssl ca-certificates passwd group nsswitch.conf ld.so.cache localtime; do
        if [ -e "/etc/$name" ]; then cp -aL "/etc/$name" "$root/etc/" 2>/dev/null || true; fi
    done
    mkdir "$root/etc/chunkgate" "$root/etc/identity"
    from_dockerfile "$config" >"$root$config"
    [ -s "$root$config" ] || fail "the Dockerfile does not write $config"
    cp "$work/identity/users.toml" "$root/etc/identity/"
    cp "$work/identity-token" "$root/run/secrets/"
    for name in null zero urandom; do
        : >"$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    touch "$work/built"
    chown "$user:$user" "$work/data"
    chmod 700 "$work/data"
    mount --bind "$work/data" "$root/var/lib/chunkgate"
    for name in usr/local usr bin lib lib32 lib64 ''; do
        if mountpoint -q "$root/$name" && [ ! -L "$root/$name" ]; then
            mount -o remount,ro,bind "$root/$name"
        fi
    done
}

# inside [NAME=VALUE…] PROGRAM…: becomes that program, in that root, as the image's user.
inside() {
    # `chroot` needs a capability that setpriv takes away, so it comes first.
    exec chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin "${image_environment[@]}" \
        setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        --ambient-caps=-all sh -c 'cd /var/lib/chunkgate && exec env "$@"' sh "$@"
}

with_namespace() {
    way="a root of the image's shape, in a mount namespace"
    work=$(mktemp -d) root='' service='' identity=''
    root=$work/root
    cleanup() {
        local process
        for process in $service $identity; do
            kill -9 "$process" 2>/dev/null || true
            wait "$process" 2>/dev/null || true
        done
        umount -R "$root" 2>/dev/null || true
        rm -rf --one-file-system "$work"
    }
    trap cleanup EXIT
    prepare
    mapfile -t image_environment < <(variables)
    config=$(printf '%s\n' "${image_environment[@]}" | sed -n 's/^CHUNKGATE_CONFIG=//p')
    build_root
    local port identity_port
    port=$(free_port) identity_port=$(free_port)
    # The image listens on a port that may be taken here.
    environment=(CHUNKGATE_IDENTITY__URL="http://127.0.0.1:$identity_port"
        CHUNKGATE_IDENTITY__TOKEN_FILE=/run/secrets/identity-token CHUNKGATE_SERVER__LISTEN="0.0.0.0:$port")
    health() { (inside "${environment[@]}" chunkgate health); }
    running() { kill -0 "$service" 2>/dev/null; }
    logs() { :; }
    start() {
        grep -qx 'listen = "0.0.0.0:8080"' "$root$config" || fail "the image would not listen for others"
        (inside chunkgate identity serve --listen "127.0.0.1:$identity_port" --users /etc/identity/users.toml \
            --token-file /run/secrets/identity-token) >"$work/identity.log" 2>&1 &
        identity=$!
        (inside "${environment[@]}" chunkgate serve) >"$work/service.log" 2>&1 &
        service=$!
    }
    # As a client elsewhere.
    upload() {
        XDG_STATE_HOME=$work/state "$binary" upload "$work/file.bin" --url "http://127.0.0.1:$port" "${key[@]}"
    }
    stored() {
        find "$work/data/chunkgate-data/files/chunked_uploads" -type f -exec cat {} + | cmp - "$work/file.bin"
    }
    confined() {
        is_unprivileged <"/proc/$service/status" || return 1
        local place
        for place in / /tmp /usr /usr/local/bin /etc /etc/chunkgate /run /dev /var/lib; do
            # Root as well: the mount refuses, not only the permissions.
            if chroot "$root" touch "$place/probe" 2>/dev/null; then
                rm -f "$root$place/probe"
                echo "$place can be written" >&2
                return 1
            fi
        done
        (inside touch /var/lib/chunkgate/probe) && rm "$work/data/probe"
    }
    stop() {
        kill -TERM "$service"
        local status=0
        wait "$service" || status=$?
        service=''
        return "$status"
    }
    clean() {
        # All mounts but the data folder were read-only from before the start; what lies in it is the service's own.
        [ -z "$(find "$root" -xdev -newer "$work/built" -type f)" ] &&
            [ -z "$(find "$work/data" ! -user "$user")" ] &&
            [ "$(ls -A "$work/data")" = chunkgate-data ]
    }
    prove
}

# --------------------------------------------------------------------------------------------------------------------

for name in $(compgen -e CHUNKGATE_); do unset "$name"; done
binary=$(realpath -m "${1-$repository/target/release/chunkgate}")
if [ "${CONTAINER_ENGINE-docker}" = docker ] && command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    with_docker
    exit
fi
if [ "${CONTAINER_NAMESPACE-}" = entered ]; then
    with_namespace
    exit
fi
for tool in unshare setpriv chroot mountpoint; do
    command -v "$tool" >/dev/null || skip "neither docker's engine nor $tool is there"
done
[ "$(id -u)" = 0 ] || skip "docker's engine does not answer, and mounting needs root"
probe='folder=$(mktemp -d); mount -t tmpfs tmpfs "$folder" && umount "$folder"; status=$?; rmdir "$folder"; exit $status'
unshare -m --propagation private sh -c "$probe" 2>/dev/null ||
    skip "docker's engine does not answer, and mounting is not permitted here"
[ -x "$binary" ] || { echo "container: there is no $binary" >&2; exit 1; }
CONTAINER_NAMESPACE=entered exec unshare -m --propagation private "$0" "$binary"

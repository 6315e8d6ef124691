#!/usr/bin/env bash
# docker/base-image.sh [NAME]: makes the base image (python:3.11-slim) from Debian's packages, for a machine that reaches a
# Debian mirror but no image registry. Needs root and debootstrap; ENGINE=podman for Podman, MIRROR=URL for a mirror.
set -euo pipefail
name=${1:-python:3.11-slim}
engine=${ENGINE:-docker}
command -v debootstrap >/dev/null || { echo "$0: debootstrap is needed: apt-get install debootstrap" >&2; exit 4; }
[ "$(id -u)" = 0 ] || { echo "$0: only root can run debootstrap: use sudo" >&2; exit 4; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" ${MIRROR:-} >&2
tar -C "$root" -c \
  --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' \
  --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' --exclude='./dev/*' . |
  "$engine" import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    - "$name"

#!/usr/bin/env bash
# Build infra/Dockerfile without a Docker engine: its own steps, read from the file, in folders made by debootstrap.
#
#   sudo infra/build_proof.sh FOLDER [DOCKERFILE]
#
# FOLDER becomes the image's root and stays: 7.8 GB, in 15 minutes beside other work. It needs root, debootstrap, and the network.
# What differs from Docker: the base is Debian's own release with its own Python of the same minor version, in place of
# python:slim by its digest. Steps run in a chroot with a mount namespace of their own, and see this machine's network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "error: chroot needs root: sudo $0 $*" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "error: no debootstrap: apt-get install debootstrap" >&2; exit 1; }
[ ! -e "$1" ] || [ -z "$(ls -A "$1")" ] || { echo "error: $1: not empty; give a new folder" >&2; exit 1; }
mkdir -p "$1"
exec unshare --mount --propagation private python3 infra/dockerfile_steps.py "$1" "${2:-infra/Dockerfile}"

#!/bin/sh
# Makes what the deployment takes from an image registry, where there is none: from Debian packages alone.
#
#   deploy/docker/offline-images.sh          as root, with debootstrap and docker
#
# hybrid-base:bookworm         Debian 12 with Python 3.11
# hybrid-postgres:bookworm     PostgreSQL 15
# hybrid-redis:bookworm        Redis 7.0
# deploy/docker/wheels/        our dependencies, got with this machine's pip: its index stays out of every layer
#
# MIRROR: the Debian mirror, by default debootstrap's own. PYTHON: a Python of the very version of the base image, for wheels that fit it; Debian 12's own.
set -eu
cd "$(dirname "$0")/../.."
: "${MIRROR:=}" "${PYTHON:=/usr/bin/python3}"
base=hybrid-base:bookworm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! docker image inspect "$base" >/dev/null 2>&1; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" ${MIRROR:+"$MIRROR"}
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    tar -C "$work/root" -c . | docker import -c 'CMD ["python3"]' - "$base"
fi
for name in postgres redis; do
    docker build -f "deploy/docker/$name.Dockerfile" --build-arg BASE_IMAGE="$base" -t "hybrid-$name:bookworm" .
done

# Empty packages stand in for ours, so that pip builds nothing in the checkout.
mkdir -p "$work/src/runtime" "$work/src/executors" deploy/docker/wheels
cp LICENSE README.md pyproject.toml "$work/src"
cp runtime/version.py "$work/src/runtime"
touch "$work/src/runtime/__init__.py" "$work/src/executors/__init__.py"
"$PYTHON" -m venv "$work/venv"
(cd "$work/src" && "$work/venv/bin/pip" wheel -q -w "$OLDPWD/deploy/docker/wheels" '.[celery,kubernetes,postgres]' 'setuptools>=77')
rm -f deploy/docker/wheels/hybrid_runtime-*.whl

echo "For deploy/.env:"
printf '%s\n' "BASE_IMAGE=$base" POSTGRES_IMAGE=hybrid-postgres:bookworm REDIS_IMAGE=hybrid-redis:bookworm

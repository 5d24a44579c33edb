#!/bin/sh
# Builds the container image tidegate:VERSION with whatever builds such: podman, buildah or docker.
#
# usage: packaging/container.sh VERSION TARBALL DIRECTORY [OPTION...] (it is emptied, for the context)
set -eu
cd "$(dirname "$0")/.."
version=$1 tarball=$2 context=$3
shift 3
for builder in podman buildah docker; do
	command -v "$builder" >/dev/null && break
done
command -v "$builder" >/dev/null || { echo "none of podman, buildah and docker is installed" >&2 && exit 1; }
rm -rf "$context"
mkdir -p "$context"
cp "$tarball" packaging/container/Containerfile "$context"
# buildah knows HEALTHCHECK only in docker's format.
[ "$builder" = docker ] || set -- --format docker "$@"
exec "$builder" build -t "tidegate:$version" -f "$context/Containerfile" "$@" "$context"

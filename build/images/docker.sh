#!/usr/bin/env bash
# Prints a Docker client that can build with BuildKit, which the Dockerfiles need
# for their mounts; with DOCKER_BUILDKIT=1 it does.
set -euo pipefail

for client in $(type -aP docker); do
	version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null) || continue
	# Until 23 BuildKit was part of the client, since then it is a plugin.
	if ((${version%%.*} < 23)) || "$client" buildx version >/dev/null 2>&1; then
		echo "$client"
		exit
	fi
done
if docker info >/dev/null 2>&1; then
	echo "images: no Docker client here can build with BuildKit: install its plugin buildx (packages docker-buildx-plugin or docker-buildx), or Debian's docker.io" >&2
else
	echo "images: no Docker engine answers: install one (package docker.io) and start it" >&2
fi
exit 1

#!/usr/bin/env bash
# Installs what building and testing magellan needs and this machine lacks, from
# its own Debian or Ubuntu packages: build/deps.sh [bench | images | engine | writers | readers]...
# If all is there it does nothing, at once. Starts no service.
set -euo pipefail

packages=(
	# build/native.sh
	gcc g++ make libc6-dev autoconf automake libtool pkg-config bzip2 curl ca-certificates
	libssl-dev default-jre-headless libzookeeper-java
	# go build without build/env.sh
	libjemalloc-dev libzookeeper-mt-dev
	# tests start real servers from the jars of libzookeeper-java; checks
	libslf4j-java shellcheck
)
for more; do
	case $more in
	bench) packages+=(nginx wrk heaptrack) ;;
	images) # for build/base-images.sh, and compose.yaml
		packages+=(debootstrap)
		docker compose version >/dev/null 2>&1 || packages+=(docker-compose)
		;;
	writers) # programs that register services: test/services
		packages+=(libcurator-discovery-java default-jdk-headless python3-kazoo)
		;;
	readers) packages+=(prometheus haproxy socat nginx) ;; # programs that discover services: test/readers
	engine) command -v dockerd >/dev/null || packages+=(docker.io) ;;
	*)
		echo "usage: build/deps.sh [bench | images | engine | writers | readers]..." >&2
		exit 2
		;;
	esac
done

if ! command -v go >/dev/null; then
	echo "deps: Go is missing: install $(sed -n 's/^go /Go /p' "$(dirname "$0")/../go.mod") or newer from https://go.dev/dl/" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian or Ubuntu: I cannot install the like of: ${packages[*]}" >&2
	exit 0 # they may be there under other names; who needs one says so
fi

missing=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

root=()
if ((EUID != 0)); then
	command -v sudo >/dev/null || {
		echo "deps: as root, run: apt-get install ${missing[*]}" >&2
		exit 1
	}
	root=(sudo)
fi
echo "deps: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Packages of servers start them. policy-rc.d is how that is forbidden; a
# machine that has one knows what it wants.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$log"; "${root[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
	"${root[@]}" chmod 755 "$policy"
fi
"${root[@]}" apt-get -qq update || echo "deps: apt-get update failed, going on with the lists this machine has" >&2
if ! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "deps: apt-get could not install them" >&2
	exit 1
fi
# Nor shall a server start with the machine from now on.
for package in nginx haproxy prometheus; do
	if [[ " ${missing[*]} " == *" $package "* && -d /run/systemd/system ]]; then
		"${root[@]}" systemctl disable --quiet "$package"
	fi
done

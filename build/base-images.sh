#!/usr/bin/env bash
# Sees to it that the images that the Dockerfiles begin with are here. Each one
# that is missing is pulled; where no registry can be reached, a stand-in of the
# same name is made from Debian's packages, so that the Dockerfiles are built as
# they are. What is here already is left alone: build/base-images.sh [NAME...].
#
#   debian:bookworm-slim   debootstrap of Debian 12: as good as the original
#   golang:1.26-bookworm   that, with git, a C compiler and this machine's Go
#   ubuntu:24.04           Debian 13, which is nearest to it: NOT Ubuntu
#
# A stand-in says what it is in its label magellan.stand-in. DEBIAN_MIRROR is where
# to take Debian from, if not from where this machine's apt does.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=$(build/images/docker.sh)
export DOCKER_BUILDKIT=1

say() { printf 'base-images: %s\n' "$*" >&2; }

# Where this machine's own apt gets Debian from; empty, for debootstrap's own choice,
# where it gets something else.
mirror() {
	local uri
	# shellcheck disable=SC2016 # apt's own variable
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/*$') || true
	echo "${DEBIAN_MIRROR:-$uri}"
}

# bootstrap NAME SUITE LABEL makes an image of a minimal Debian.
bootstrap() {
	local name=$1 suite=$2 label=$3 from
	command -v debootstrap >/dev/null || build/deps.sh images
	((EUID == 0)) || {
		say "debootstrap wants root: run build/base-images.sh as root, once"
		exit 1
	}
	from=$(mirror)
	debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/$suite" ${from:+"$from"} >"$work/log" 2>&1 || {
		tail -n 20 "$work/log" >&2
		say "debootstrap of $suite${from:+ from $from} failed; DEBIAN_MIRROR names another mirror"
		exit 1
	}
	from=$(awk '$1 == "deb" {print $2; exit}' "$work/$suite/etc/apt/sources.list")
	# Fixes of errors and of security are in suites of their own.
	cat >"$work/$suite/etc/apt/sources.list" <<SOURCES
deb $from $suite main
deb $from $suite-updates main
deb ${from%/}-security $suite-security main
SOURCES
	printf '#!/bin/sh\nexit 101\n' >"$work/$suite/usr/sbin/policy-rc.d" # installs start no services
	chmod 755 "$work/$suite/usr/sbin/policy-rc.d"
	printf 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n' >"$work/$suite/etc/apt/apt.conf.d/image"
	rm -rf "$work/$suite"/var/{cache/apt,lib/apt/lists,log}/* "$work/$suite"/usr/share/{doc,man,info,locale}/* "$work/$suite"/etc/{resolv.conf,hostname}
	tar -C "$work/$suite" --one-file-system -c . | "$docker" import --change 'CMD ["bash"]' --change "LABEL magellan.stand-in=\"$label\"" - "$name" >/dev/null
}

make_debian() { bootstrap "$1" bookworm "Debian 12 by debootstrap"; }
make_ubuntu() { bootstrap "$1" trixie "Debian 13 by debootstrap, and not Ubuntu"; }

# The same layout and environment as the original's: /usr/local/go, GOPATH=/go.
make_golang() {
	local goroot version ca=()
	build/base-images.sh debian:bookworm-slim
	goroot=$(go env GOROOT) version=$(go env GOVERSION)
	[[ $version == go1.26* ]] || {
		say "$1 cannot be made: the Go of this machine is $version"
		exit 1
	}
	[[ ! -s ${BUILD_CA-/etc/ssl/certs/ca-certificates.crt} ]] || ca=(--secret "id=ca,src=${BUILD_CA-/etc/ssl/certs/ca-certificates.crt}")
	"$docker" build --quiet "${ca[@]}" --tag "$1" --file - "$goroot" >/dev/null <<DOCKERFILE
FROM debian:bookworm-slim
RUN --mount=type=secret,id=ca \\
    if [ -s /run/secrets/ca ]; then \\
      echo 'Acquire::https::CAInfo "/run/secrets/ca"; APT::Sandbox::User "root";' >/dev/shm/apt.conf; export APT_CONFIG=/dev/shm/apt.conf; \\
    fi \\
 && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
    ca-certificates curl g++ gcc git libc6-dev make pkg-config >/dev/null && rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/go/bin
COPY lib /usr/local/go/lib
COPY misc /usr/local/go/misc
COPY pkg /usr/local/go/pkg
COPY src /usr/local/go/src
COPY VERSION go.env /usr/local/go/
ENV GOTOOLCHAIN=local GOPATH=/go PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go
LABEL magellan.stand-in="Debian 12 with $version of the machine that built it"
DOCKERFILE
}

(($#)) || set -- debian:bookworm-slim golang:1.26-bookworm ubuntu:24.04
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name; do
	if "$docker" image inspect "$name" >/dev/null 2>&1; then
		continue
	elif why=$(timeout 900 "$docker" pull --quiet "$name" 2>&1); then
		say "$name: pulled"
		continue
	fi
	say "$name cannot be pulled: ${why:-not within 15 minutes}"
	begin=$SECONDS
	case $name in
	debian:bookworm*) make_debian "$name" ;;
	golang:1.26-bookworm) make_golang "$name" ;;
	ubuntu:24.04) make_ubuntu "$name" ;;
	*)
		say "$name can neither be pulled nor made here: pull it, or choose another"
		exit 1
		;;
	esac
	say "$name: a stand-in of Debian's packages, made in $((SECONDS - begin)) s"
done

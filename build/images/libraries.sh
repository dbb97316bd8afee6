#!/usr/bin/env bash
# Collects what a program needs of the distribution to run without it, in an
# image's build: build/images/libraries.sh PROGRAM DIRECTORY.
set -euo pipefail

program=$1 root=$2
missing() { ldd "$program" | awk '/not found/{print $1}'; }
if [[ -n $(missing) ]]; then
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install '^libssl3(t64)?$' >/dev/null
fi
[[ -z $(missing) ]] || {
	echo "libraries: this distribution has no $(missing | tr '\n' ' ')" >&2
	exit 1
}

mkdir -p "$root"/{etc,usr/lib,usr/bin,var/lib/dpkg/status.d}
install -d -m 1777 "$root/tmp"
# A volume that is mounted here belongs to magellan: for --heap-dir.
install -d -o 65532 -g 65532 "$root/var/lib/magellan/heap"
for link in lib lib64; do
	if [[ -L /$link ]]; then cp -P "/$link" "$root/"; else mkdir "$root/$link"; fi
done
mkdir -p "$root/usr/lib64"

packages=()
for file in $(ldd "$program" | awk '$3 ~ /^\//{print $3} $1 ~ /^\//{print $1}'); do
	install -D -m 755 "$(realpath "$file")" "$root$file"
	real=$(realpath "$file")
	# What dpkg knows of the file is by its name before /lib became a link.
	package=$({ dpkg-query -S "$real" "${real#/usr}" "$file" 2>/dev/null || true; } | awk -F: 'NR == 1 {print $1}')
	packages+=("${package:?no package has $file}")
done
# Names resolve as on the distribution: files, then DNS.
cp /etc/nsswitch.conf "$root/etc/" 2>/dev/null || echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
cp /etc/os-release "$root/etc/os-release"
for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
	dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
	[[ ! -f /usr/share/doc/$package/copyright ]] || install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
echo "libraries: $(du -sb "$root" | cut -f1) bytes of ${packages[*]}"

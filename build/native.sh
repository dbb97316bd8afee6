#!/usr/bin/env bash
# Builds the two C libraries magellan links, jemalloc and libzookeeper, from
# pinned upstream releases into a local prefix. See usage() or --help.
set -euo pipefail

# The pins. A tarball is used only if its SHA-256 is the one written here,
# wherever it came from; a new version is a change of these lines.
jemalloc_version=5.3.0
jemalloc_sha256=2db82d1e7119df3e71b7640219b6dfe84789bc0537983c3b7ac4f7189aecfeaa
jemalloc_url=https://github.com/jemalloc/jemalloc/releases/download/5.3.0/jemalloc-5.3.0.tar.bz2
zookeeper_version=3.8.0
zookeeper_sha256=b0c5684640bea2d8bd6610b47ff41be2aefd6c910ba48fcad5949bd2bf2fa1ac
zookeeper_url=https://archive.apache.org/dist/zookeeper/zookeeper-3.8.0/apache-zookeeper-3.8.0.tar.gz

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MAGELLAN_CACHE:-$repo/.cache}
flavour=release
prefix=
sources=${MAGELLAN_SOURCES:-}
jute_jar=${MAGELLAN_JUTE_JAR:-/usr/share/java/zookeeper-jute.jar}
jobs=$(nproc)
fetch_only=

usage() {
	cat <<USAGE
Usage: build/native.sh [options]

Builds jemalloc $jemalloc_version (with profiling) and the C client of ZooKeeper
$zookeeper_version (with TLS) as static libraries with all symbols, for cgo.
A prefix that is up to date is left alone.

  --flavour release   -O2 -g (default)
  --flavour debug     libzookeeper with --enable-debug: -O0 -g
  --flavour asan      libzookeeper under AddressSanitizer, for go test -asan
  --flavour system    the distribution's libraries: builds nothing
  --prefix DIR        where to install (default: .native/FLAVOUR in the repository)
  --sources DIR       a folder that holds the release tarballs
                      (default: \$MAGELLAN_SOURCES)
  --jobs N            compile jobs at once (default: the number of processors, $jobs)
  --fetch             only fetch and check the tarballs
  --help              this text

A tarball is looked for, in this order, in
  1. the folder given by --sources,
  2. the cache, $cache (\$MAGELLAN_CACHE),
  3. the source packages of this machine's own Debian or Ubuntu mirror,
  4. the project's release page.
The line printed for each library says which one served. Every tarball is
checked against the SHA-256 in this script.

Also read: \$MAGELLAN_JUTE_JAR, the jute compiler that generates ZooKeeper's
wire types (default: $jute_jar).

To build Go code against the result: eval "\$(build/env.sh)"; go build ./...
USAGE
}

say() { printf 'native: %s\n' "$*" >&2; }
die() {
	say "$*"
	exit 1
}

while (($#)); do
	case $1 in
	--flavour | --prefix | --sources | --jobs)
		(($# >= 2)) || die "$1 needs a value; see --help"
		declare "${1#--}=$2"
		shift 2
		;;
	--fetch) fetch_only=1 && shift ;;
	-h | --help) usage && exit ;;
	*) die "unknown option $1; see --help" ;;
	esac
done

case $flavour in
release | debug | asan) ;;
system) exit ;; # the distribution's libraries: nothing to build
*) die "unknown flavour '$flavour': use release, debug, asan or system" ;;
esac
[[ -z $sources || -d $sources ]] || die "--sources $sources: no such folder"
prefix=$(realpath -m "${prefix:-$repo/.native/$flavour}")

# --- what is built, and whether it is there already --------------------------

need() { # command package
	command -v "$1" >/dev/null || die "$1 is missing: install the package $2 (or run: make deps)"
}

inputs() { # everything the result depends on, as one hash
	{
		sha256sum <"${BASH_SOURCE[0]}"
		"${CC:-cc}" --version
		echo "$flavour ${CC:-cc} $(uname -m)"
	} | sha256sum | cut -c1-16
}

up_to_date() {
	[[ $(cat "$prefix/.stamp" 2>/dev/null) == "$hash" ]]
}

# --- the tarballs ------------------------------------------------------------

# Each source answers with the path of a tarball, which the caller checks.

from_folder() { # folder name version
	local file
	for file in "$1/$2-$3".tar.* "$1/apache-$2-$3".tar.* "$1/$2_$3".orig.tar.*; do
		case $file in *.asc | *.sha*) continue ;; esac
		[[ -f $file ]] && echo "$file" && return
	done
	return 1
}

# The machine's own deb entries, turned into deb-src entries in a folder of our
# own: the system's configuration and package lists are not touched.
apt_config() {
	local file
	[[ -f $work/apt/apt.conf ]] && return
	mkdir -p "$work"/apt/{sources.list.d,lists/partial,cache/archives/partial}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -f $file ]] || continue
		sed -n 's/^[[:space:]]*deb\([[:space:]]\)/deb-src\1/p' "$file"
	done >"$work/apt/sources.list"
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ -f $file ]] || continue
		sed 's/^[Tt]ypes:.*/Types: deb-src/' "$file" >"$work/apt/sources.list.d/${file##*/}"
	done
	# What apt is told elsewhere holds here too: an own authority, in an image's build.
	cat ${APT_CONFIG:+"$APT_CONFIG"} - >"$work/apt/apt.conf" <<APT
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "$work/apt/sources.list.d";
Dir::State::Lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
APT
	say "reading the distribution's list of source packages"
	# One repository of many may fail; what counts is whether the package is found.
	APT_CONFIG=$work/apt/apt.conf apt-get -qq update >"$work/apt/update.log" 2>&1 || true
}

from_distribution() { # name version
	local versions match
	command -v apt-get >/dev/null || {
		say "$1: this is not Debian or Ubuntu, no source package"
		return 1
	}
	apt_config
	export APT_CONFIG=$work/apt/apt.conf
	versions=$(apt-cache showsrc "$1" 2>/dev/null | awk '$1=="Version:"{print $2}' | sort -Vu)
	if [[ -z $versions ]]; then
		say "$1: the distribution has no such source package: $(tail -1 "$work/apt/update.log")"
		return 1
	fi
	match=$(grep -E "^([0-9]+:)?${2//./\\.}(\+dfsg[0-9]*)?-" <<<"$versions" | tail -1) || {
		say "$1: the distribution has version $(tr '\n' ' ' <<<"$versions")and $2 is pinned: trying the next source"
		return 1
	}
	(cd "$work/apt" && apt-get -qq source --download-only --only-source "$1=$match") >"$work/apt/source.log" 2>&1 || {
		say "$1: apt-get source failed: $(tail -1 "$work/apt/source.log")"
		return 1
	}
	from_folder "$work/apt" "$1" "$2"
}

from_release_page() { # name version url
	command -v curl >/dev/null || {
		say "$1: curl is missing: install the package curl"
		return 1
	}
	curl --fail --silent --show-error --location --retry 2 --connect-timeout 15 --output "$work/$1-$2.tar.${3##*.tar.}" "$3" || return 1
	echo "$work/$1-$2.tar.${3##*.tar.}"
}

checked() { # file sha256
	[[ -f $1 ]] && [[ $(sha256sum <"$1") == "$2  -" ]]
}

fetch() { # name version sha256 url; leaves the tarball's path in $tarball
	local name=$1 version=$2 sha256=$3 url=$4 file source
	for source in folder cache distribution "release page"; do
		case $source in
		folder) file=$(from_folder "${sources:-/dev/null}" "$name" "$version") || continue ;;
		cache) file=$(from_folder "$cache" "$name" "$version") || continue ;;
		distribution) file=$(from_distribution "$name" "$version") || continue ;;
		"release page") file=$(from_release_page "$name" "$version" "$url") || continue ;;
		esac
		if ! checked "$file" "$sha256"; then
			say "$name: $(basename "$file") from the $source is not the pinned release (its SHA-256 differs): trying the next source"
			continue
		fi
		say "$name $version: from the $source ($(basename "$file")), SHA-256 checked"
		tarball=$cache/$name-$version.tar.${file##*.tar.}
		if [[ ! $file -ef $tarball ]]; then
			mkdir -p "$cache"
			cp "$file" "$tarball.$$" && mv "$tarball.$$" "$tarball"
		fi
		return
	done
	die "no source has $name $version. Put its release tarball ($url) into a folder and give --sources FOLDER"
}

# --- the builds --------------------------------------------------------------

# run prints nothing unless the command fails: then the end of what it said.
run() {
	if ! "$@" >"$work/log" 2>&1; then
		tail -n 30 "$work/log" >&2
		die "this failed: $*"
	fi
}

# Archives only, and each is made of position-independent code: the libraries
# become part of the Go binary, which may be linked as a PIE.
#
# An archive does not know which libraries it needs after itself, and cgo puts
# CGO_LDFLAGS before a package's own -l flags, so it cannot say so either. What
# the linker finds as -lNAME is therefore a line of linker script that names the
# archive and then what the archive needs.
needs_after() { # NAME libraries...
	local name=$1
	shift
	mv "$stage/lib/lib$name.a" "$stage/lib/lib${name}_static.a"
	echo "INPUT(-l${name}_static $*)" >"$stage/lib/lib$name.a"
}

build_jemalloc() { # source folder
	local config=(--prefix="$prefix" --enable-prof --disable-cxx --disable-doc --enable-static --disable-shared)
	# jemalloc fixes the largest page size it can run on when it is built, and
	# arm64 kernels come with pages of up to 64 KiB.
	[[ $(uname -m) == aarch64 ]] && config+=(--with-lg-page=16)
	cd "$1"
	# Its configure asks for -g3, whose macros make a 43 MB archive of this one.
	# Without tail calls realloc leaves a frame, by which the heap profiler knows
	# where jemalloc ends; malloc is the same, but for what it cannot give at once.
	run ./configure "${config[@]}" CFLAGS="-O2 $cflags" EXTRA_CFLAGS="-g2 -fno-optimize-sibling-calls"
	run make -j"$jobs" lib/libjemalloc_pic.a
	install -d "$stage"/{bin,lib,include/jemalloc,share/licenses}
	install -m 644 lib/libjemalloc_pic.a "$stage/lib/libjemalloc.a"
	install -m 644 include/jemalloc/jemalloc.h "$stage/include/jemalloc/"
	install -m 755 bin/jeprof "$stage/bin/"
	install -m 644 COPYING "$stage/share/licenses/jemalloc"
	needs_after jemalloc -lpthread -ldl -lm
}

build_zookeeper() { # source folder
	local config=(--prefix="$prefix" --without-cppunit --without-sasl --with-openssl --with-pic --enable-static --disable-shared)
	local client=$1/zookeeper-client/zookeeper-client-c optimize=-O2
	case $flavour in
	debug) config+=(--enable-debug) optimize= ;;
	asan) optimize="-O1 -fsanitize=address" ;;
	esac
	mkdir -p "$client/generated"
	cd "$client/generated"
	run java -cp "$jute_jar" org.apache.jute.compiler.generated.Rcc -l c "$1/zookeeper-jute/src/main/resources/zookeeper.jute"
	cd "$client"
	# 3.8.0 logs whether OpenSSL is in FIPS mode by a function that OpenSSL 3 dropped.
	run sed -i 's/FIPS_mode()/EVP_default_properties_is_fips_enabled(NULL)/' src/zookeeper.c
	# zoo_amulti frees the path of a request that it has never filled, when the
	# session is gone by the second operation.
	run sed -i '/^int zoo_amulti(/,/^}/s/\(struct [A-Za-z]*Request req\);/\1 = {0};/' src/zookeeper.c
	# After a failure it goes on by two servers instead of one, so that of an even
	# number it only ever tries half (ZOOKEEPER-2466).
	run sed -i '/^static void handle_error(/,/^}/{/addrvec_next(/d}' src/zookeeper.c
	# It takes two servers of one address for the same one, whatever their ports, so
	# that zoo_set_servers cannot go from one to the other.
	run sed -i -E '/^int addrvec_contains\(/,/^\}/s/sizeof\(struct (in6?)_addr\)\) == 0/& \&\& ((struct sockaddr_\1*)\&avec->data[i])->s\1_port == ((struct sockaddr_\1*)addr)->s\1_port/' src/addrvec.c
	[[ $(grep -c 'avec->data\[i\])->sin6\?_port ==' src/addrvec.c) == 2 ]] || die "zookeeper: addrvec_contains is not as expected"
	# If it has other servers, it closes the connection, on the caller's thread, and nothing
	# else. Requests that wait for their answers stay first in line, so that the first answer
	# on the next connection is taken for an inconsistency, which ends that one. The I/O
	# thread does it now, as after each loss of a connection: the requests fail, and an
	# event tells of it.
	run sed -i -e '/^int update_addrs(/,/^}/{s/^        close_zsock(zh->fd);$/        __atomic_store_n(\&zh->leave, 1, __ATOMIC_SEQ_CST);/;/^        zh->state = ZOO_NOTCONNECTED_STATE;$/d}' \
		-e '/^int zookeeper_interest(/,/^}/s/^    \*fd = zh->fd->sock;$/    if (__atomic_exchange_n(\&zh->leave, 0, __ATOMIC_SEQ_CST) \&\& zh->fd->sock != -1)\n        handle_socket_error_msg(zh, __LINE__, __func__, ZCONNECTIONLOSS, "it has other servers now");\n&/' src/zookeeper.c
	run sed -i 's/^    int reconfig; .*/&\n    int leave; \/\/ the connection, as the servers are others now/' src/zk_adaptor.h
	[[ $(cat src/zookeeper.c src/zk_adaptor.h | grep -cE 'zh->leave, [01]|int leave;') == 3 ]] || die "zookeeper: update_addrs is not as expected"
	# It sends a request's length and the request as two packets, and each request as
	# packets of its own. MSG_MORE makes one packet of all that wait.
	run sed -i -e '/^static ssize_t zookeeper_send(/,/^}/{s/len)$/len, int more)/;s/SEND_FLAGS)/SEND_FLAGS | (more ? MSG_MORE : 0))/}' \
		-e 's/zookeeper_send(zh->fd, b + off, sizeof(nlen) - off)/zookeeper_send(zh->fd, b + off, sizeof(nlen) - off, 1)/' \
		-e 's/zookeeper_send(zh->fd, buff->buffer + off, len - off)/zookeeper_send(zh->fd, buff->buffer + off, len - off, buff->next != NULL)/' \
		-e 's/zookeeper_send(zh->fd, &hlen, sizeof(len))/zookeeper_send(zh->fd, \&hlen, sizeof(len), 1)/' \
		-e 's/zookeeper_send(zh->fd, buffer_req, len)/zookeeper_send(zh->fd, buffer_req, len, 0)/' \
		-e 's/zookeeper_send(&fd, "isro", 4)/zookeeper_send(\&fd, "isro", 4, 0)/' src/zookeeper.c
	run autoreconf -if
	# _GNU_SOURCE: the client's own choice, which it forgets once CFLAGS are given.
	# -Wno-error: a newer compiler's warnings are no reason to stop here, but for
	# calls of functions that do not exist, which only the last link would find.
	run ./configure "${config[@]}" CPPFLAGS=-D_GNU_SOURCE CFLAGS="$optimize $cflags -Wno-error -Werror=implicit-function-declaration"
	run make -j"$jobs" libzookeeper_mt.la
	nm .libs/libzookeeper_mt.a 2>&1 | grep 'T zookeeper_init_ssl$' >/dev/null || die "zookeeper: built without TLS, because configure did not find OpenSSL: install the package libssl-dev"
	install -d "$stage"/{lib,include/zookeeper,share/licenses}
	install -m 644 .libs/libzookeeper_mt.a "$stage/lib/"
	install -m 644 include/{zookeeper,zookeeper_version,zookeeper_log,proto,recordio}.h generated/zookeeper.jute.h "$stage/include/zookeeper/"
	# zookeeper_init_ssl is in this library: its header has to declare it.
	sed -i '1i #ifndef HAVE_OPENSSL_H\n#define HAVE_OPENSSL_H 1\n#endif' "$stage/include/zookeeper/zookeeper.h"
	install -m 644 "$1/LICENSE.txt" "$stage/share/licenses/zookeeper"
	needs_after zookeeper_mt -lssl -lcrypto -lpthread -lm
}

unpack_and() { # builder name tarball
	local begin=$SECONDS
	mkdir "$work/$2"
	tar -xf "$3" -C "$work/$2" --strip-components=1 || die "$2: cannot unpack $3: install the packages bzip2 and gzip"
	# The recorded paths of the sources shall not depend on where they were built.
	local cflags="-g -fno-omit-frame-pointer -ffile-prefix-map=$work/="
	("$1" "$work/$2")
	say "$2: built in $((SECONDS - begin)) s"
}

check_tools() {
	need "${CC:-cc}" gcc
	need c++ g++
	need make make
	need autoreconf autoconf
	need automake automake
	need libtoolize libtool
	need pkg-config pkg-config
	need java default-jre-headless
	need flock util-linux
	[[ -f $jute_jar ]] || die "the jute compiler $jute_jar is missing: install the package libzookeeper-java (or run: make deps), or set MAGELLAN_JUTE_JAR"
	"${CC:-cc}" -E -include openssl/ssl.h -x c /dev/null >/dev/null 2>&1 || die "openssl/ssl.h is missing: install the package libssl-dev (or run: make deps)"
}

main() {
	local tarball hash work stage
	need "${CC:-cc}" gcc
	hash=$(inputs)
	if [[ -z $fetch_only ]] && up_to_date; then
		say "$prefix is up to date ($flavour)"
		return
	fi
	if [[ -e $prefix && ! -f $prefix/.stamp && -n $(ls -A "$prefix") ]]; then
		die "$prefix was not made by this script and is not empty: give another --prefix"
	fi
	[[ -n $fetch_only ]] || check_tools
	mkdir -p "$(dirname "$prefix")"
	exec 9>"$prefix.lock"
	flock 9
	if [[ -z $fetch_only ]] && up_to_date; then # somebody else built it meanwhile
		say "$prefix is up to date ($flavour)"
		return
	fi

	work=$(mktemp -d)
	# shellcheck disable=SC2064 # the folder as it is now
	trap "rm -rf '$work'" EXIT
	fetch jemalloc "$jemalloc_version" "$jemalloc_sha256" "$jemalloc_url"
	local jemalloc_tarball=$tarball
	fetch zookeeper "$zookeeper_version" "$zookeeper_sha256" "$zookeeper_url"
	[[ -z $fetch_only ]] || return 0

	stage=$work/stage
	unpack_and build_jemalloc jemalloc "$jemalloc_tarball"
	unpack_and build_zookeeper zookeeper "$tarball"
	echo "$hash" >"$stage/.stamp"
	# Never half a prefix: it appears whole, under its name.
	rm -rf "$prefix.new"
	cp -r "$stage" "$prefix.new"
	rm -rf "$prefix"
	mv "$prefix.new" "$prefix"
	say "installed into $prefix ($flavour, $(du -sh "$prefix" | cut -f1))"
}

main

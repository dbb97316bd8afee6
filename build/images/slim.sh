#!/usr/bin/env bash
# Builds magellan for an image that is to be small and to name C functions, files
# and lines all the same: build/images/slim.sh DIRECTORY. It gets
#   magellan   with the symbols and the debug information of C only: Go's functions
#              have their names, files and lines from tables of Go's own
#   symbols/   all there is to know of it, by build-id, for debuggers
# Neither way to keep C's debug information is smaller than the other; this one
# cannot be separated from its binary. docs/images.md has the sizes.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# The first build is with everything; the second one leaves out Go's part of the
# debug information. Go's linker then asks the linker of C (-Wl,-S) to leave out
# C's too, and it is that which is taken back here. The code is the same.
GOFLAGS="$(go env GOFLAGS) -trimpath" # an image has nothing of where it was built
export GOFLAGS
build/build.sh "$work/full"
id=$(readelf -n "$work/full" | awk '/Build ID:/{print $3}')
cat >"$work/ld" <<'LD'
#!/usr/bin/env bash
for argument; do
	shift
	[[ $argument == -Wl,-S ]] || set -- "$@" "$argument"
done
exec "${CC:-gcc}" "$@"
LD
chmod +x "$work/ld"
GO_LDFLAGS="-w -B 0x$id -extld=$work/ld" build/build.sh "$work/magellan"
for section in .text .gopclntab .eh_frame; do
	for file in full magellan; do
		objcopy -O binary --only-section="$section" "$work/$file" "$work/$file$section"
	done
	cmp "$work/full$section" "$work/magellan$section" || {
		echo "slim: the two builds differ in $section: their debug information would mislead" >&2
		exit 1
	}
done

# What is left of the symbols' table are the names that C can have.
nm "$work/magellan" | awk '{print $NF}' |
	grep -Ev '^[A-Za-z0-9_]+(\.(isra|part|cold|constprop|lto_priv|localalias)(\.[0-9]+)?)*$' | sort -u >"$work/go-symbols"
# Names with blanks in them, of Go's types, cannot stand in such a list.
# Where variables are is of use to debuggers only, which get everything from the symbols.
objcopy --compress-debug-sections=zstd --remove-section=.debug_loclists --strip-symbols="$work/go-symbols" \
	"$work/magellan" "$work/listed"
objcopy --wildcard --strip-symbol='* *' --strip-symbol='*[,{:]*' "$work/listed" "$out/magellan"

debug=$out/symbols/.build-id/${id:0:2}
mkdir -p "$debug"
objcopy --only-keep-debug --compress-debug-sections=zlib "$work/full" "$debug/${id:2}.debug"

size() { # FILE WHAT
	printf 'slim: %9d bytes: %s\n' "$(stat -c %s "$1")" "$2"
}
strip -o "$work/stripped" "$work/full"
objcopy --only-keep-debug "$out/magellan" "$work/c.debug"
size "$work/full" "everything in the binary"
size "$debug/${id:2}.debug" "everything in a file of its own, beside the next"
size "$work/stripped" "nothing in the binary"
size "$work/c.debug" "C's in a file of its own, beside the last"
size "$out/magellan" "C's in the binary: the image has this one"

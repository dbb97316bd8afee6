package httpapi

import (
	"bytes"
	"compress/gzip"
	"runtime"
	"slices"
	"strings"
)

const (
	// compressOver is the length, in bytes, of the longest body that is not
	// compressed.
	compressOver = 2 << 10
	// keptLevel is for bodies that are kept and compressed only once.
	// Level 4 takes 119 ms for 12.6 MB of bad citizens and leaves 1.09 MB; level 6
	// takes 195 ms for 1.05 MB, level 1 takes 51 ms for 1.29 MB.
	keptLevel = 4
	// composedLevel is for bodies that are composed for one request. Compressing a lookup of
	// 1,000 shops takes 0.1 ms at this level, and 0.7 ms at level 6.
	composedLevel = gzip.BestSpeed
)

var encodingGzip = []string{"gzip"}

// gzipSuffix is what the entity tag of a compressed body has behind the hash of the body
// itself. The hash is not that of the compressed bytes, because replicas of different
// versions may compress differently.
const gzipSuffix = `-gzip"`

// appendGzipTag appends the entity tag that the body with this hash has when it is
// compressed.
func appendGzipTag(dst []byte, hash uint64) []byte {
	return append(appendHex64(append(dst, '"'), hash), gzipSuffix...)
}

// compressors are the writers for bodies that are composed for one request. A writer takes
// about 800 KiB, and all of a processor while it works. So there are as many writers as
// processors, and a request that comes while all of them work waits for one.
type compressors chan *gzip.Writer

func newCompressors() compressors {
	c := make(compressors, runtime.GOMAXPROCS(0))
	for range cap(c) {
		c <- nil // made when it is needed first
	}
	return c
}

// append appends body, compressed, to dst.
func (c compressors) append(dst, body []byte) []byte {
	w := <-c
	defer func() { c <- w }()
	out := bytes.NewBuffer(dst)
	if w == nil {
		w = newGzipWriter(out, composedLevel)
	} else {
		w.Reset(out)
	}
	finish(w, body)
	return out.Bytes()
}

// compressKept compresses a body that is kept.
func compressKept(body []byte) []byte {
	var out bytes.Buffer
	finish(newGzipWriter(&out, keptLevel), body)
	return slices.Clone(out.Bytes()) // without the room that the buffer has beyond it
}

func newGzipWriter(out *bytes.Buffer, level int) *gzip.Writer {
	w, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		panic(err) // there is such a level
	}
	return w
}

// finish compresses a whole body. The header that gzip writes before it has no time and no
// name, so the same body gives the same bytes.
func finish(w *gzip.Writer, body []byte) {
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
}

// acceptsGzip reports whether an Accept-Encoding header with these values accepts gzip, and
// gives it at least the weight of a body that is not encoded (RFC 9110, section 12.5.3).
func acceptsGzip(values []string) bool {
	const unknown = -1
	zipped, identity, other := unknown, unknown, unknown
	for _, rest := range values {
		for rest != "" {
			var item string
			item, rest, _ = strings.Cut(rest, ",")
			coding, parameters, _ := strings.Cut(item, ";")
			weight := weightOf(parameters)
			switch coding = trimBlanks(coding); {
			case strings.EqualFold(coding, "gzip"), strings.EqualFold(coding, "x-gzip"):
				zipped = max(zipped, weight)
			case strings.EqualFold(coding, "identity"):
				identity = max(identity, weight)
			case coding == "*":
				other = max(other, weight)
			}
		}
	}
	if zipped == unknown {
		zipped = other
	}
	if identity == unknown {
		identity = other
	}
	return zipped > 0 && zipped >= identity
}

// weightOf reads the weight among a coding's parameters, in thousandths (RFC 9110, section
// 12.4.2). It is 1000 if there is none, and 0 if the weight does not parse.
func weightOf(parameters string) int {
	name, value, _ := strings.Cut(parameters, "=")
	if !strings.EqualFold(trimBlanks(name), "q") {
		return 1000
	}
	whole, fraction, _ := strings.Cut(trimBlanks(value), ".")
	if len(whole) != 1 || len(fraction) > 3 {
		return 0
	}
	weight := 0
	for _, c := range []byte(whole + fraction + "000"[len(fraction):]) {
		if c < '0' || '9' < c {
			return 0
		}
		weight = 10*weight + int(c-'0')
	}
	if weight > 1000 {
		return 0
	}
	return weight
}

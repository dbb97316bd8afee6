package httpapi

import (
	"strconv"
	"time"

	"magellan/internal/discovery"
)

// Values that are put into headers as they are.
var (
	contentJSON     = []string{"application/json"}
	contentText     = []string{"text/plain; charset=utf-8"}
	contentProblem  = []string{"application/problem+json"}
	closeConnection = []string{"close"}
	noStore         = []string{"no-store"}
	noSniff         = []string{"nosniff"}
)

// cacheValues are the values of X-Cache by [discovery.CacheStatus].
var cacheValues = [...][]string{
	discovery.Hit:      {discovery.Hit.String()},
	discovery.Miss:     {discovery.Miss.String()},
	discovery.Updating: {discovery.Updating.String()},
	discovery.Stale:    {discovery.Stale.String()},
}

// youngAges are the values of Age that nearly all answers have.
var youngAges = func() (ages [64][]string) {
	for i := range ages {
		ages[i] = []string{strconv.Itoa(i)}
	}
	return ages
}()

// headerValues has the memory for the values that are composed for one answer's header. The
// value that a method returns is good until the method is called again. [exchange] explains
// why that is late enough.
type headerValues struct {
	etagBytes    [2 + 16]byte
	gzipTagBytes [2 + 16 + len("-gzip")]byte
	zxidBytes    [2 + 16]byte
	ageBytes     [20]byte
	lengthBytes  [20]byte
	idBytes      [16]byte

	etagValue    [1]string
	gzipTagValue [1]string
	zxidValue    [1]string
	ageValue     [1]string
	lengthValue  [1]string
	idValue      [1]string
}

// etag is the ETag of a body with this hash.
func (v *headerValues) etag(hash uint64) []string {
	v.etagValue[0] = view(appendETag(v.etagBytes[:0], hash))
	return v.etagValue[:]
}

// gzipTag is the ETag that the body with this hash has when it is compressed.
func (v *headerValues) gzipTag(hash uint64) []string {
	v.gzipTagValue[0] = view(appendGzipTag(v.gzipTagBytes[:0], hash))
	return v.gzipTagValue[:]
}

// wholeSeconds is an age as it is told.
func wholeSeconds(age time.Duration) int64 { return int64(max(age, 0) / time.Second) }

// age is a value of Age, in whole seconds.
func (v *headerValues) age(age time.Duration) []string {
	seconds := wholeSeconds(age)
	if seconds < int64(len(youngAges)) {
		return youngAges[seconds]
	}
	v.ageValue[0] = view(strconv.AppendInt(v.ageBytes[:0], seconds, 10))
	return v.ageValue[:]
}

// length is a value of Content-Length.
func (v *headerValues) length(n int) []string {
	v.lengthValue[0] = view(strconv.AppendInt(v.lengthBytes[:0], int64(n), 10))
	return v.lengthValue[:]
}

// zxid is a value of X-Zxid.
func (v *headerValues) zxid(zxid int64) []string {
	v.zxidValue[0] = view(appendZxid(v.zxidBytes[:0], zxid))
	return v.zxidValue[:]
}

// requestID is a new value of X-Request-Id.
func (v *headerValues) requestID(id *sequence) []string {
	v.idValue[0] = view(id.appendNext(v.idBytes[:0]))
	return v.idValue[:]
}

// appendZxid appends a transaction in hexadecimal, as ZooKeeper's own tools write it.
func appendZxid(dst []byte, zxid int64) []byte {
	return strconv.AppendUint(append(dst, "0x"...), uint64(zxid), 16)
}

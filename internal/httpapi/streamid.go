package httpapi

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// maxVector is the most keys whose states an event's id lists one by one. If there are more
// keys, the id has one hash of all states instead. It tells whether anything has changed, not
// what.
const maxVector = 128

// The first byte of an id tells what follows the hash of the keys.
const (
	idVector = 1 + iota // 8 bytes for each key
	idDigest            // 8 bytes for all
)

// appendID appends an event's id: which keys the stream has, and which answers its client has
// for them. States are hashes of bytes and the same on every replica. So any replica can go
// on where another one left off.
func appendID(dst []byte, keysHash uint64, keys []*streamKey) []byte {
	id := make([]byte, 1, 9+8*maxVector)
	id[0] = idVector
	id = binary.BigEndian.AppendUint64(id, keysHash)
	if len(keys) > maxVector {
		id[0] = idDigest
		id = binary.BigEndian.AppendUint64(id, digest(keys))
	} else {
		for _, k := range keys {
			id = binary.BigEndian.AppendUint64(id, k.state)
		}
	}
	return base64.RawURLEncoding.AppendEncode(dst, id)
}

func digest(keys []*streamKey) uint64 {
	h := xxhash.New()
	var b [8]byte
	for _, k := range keys {
		_, _ = h.Write(binary.BigEndian.AppendUint64(b[:0], k.state))
	}
	return h.Sum64()
}

// resumption is what a client has, as the id of its last event tells.
type resumption struct {
	states []uint64 // nil if there is only a digest
	digest uint64
}

// parseID reads an id. reason is why the id cannot be used for a stream of these keys; it is
// empty if it can.
func parseID(text string, keysHash uint64, keys int) (r resumption, reason string) {
	const unknown = "the Last-Event-ID is none of this API's"
	id, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(id) < 17 || (id[0] != idVector && id[0] != idDigest) || len(id)%8 != 1 {
		return r, unknown
	}
	if binary.BigEndian.Uint64(id[1:]) != keysHash {
		return r, "the Last-Event-ID is of a stream with other keys"
	}
	rest := id[9:]
	if id[0] == idDigest {
		if len(rest) != 8 {
			return r, unknown
		}
		r.digest = binary.BigEndian.Uint64(rest)
		return r, ""
	}
	if len(rest) != 8*keys {
		return r, unknown
	}
	r.states = make([]uint64, keys)
	for i := range r.states {
		r.states[i] = binary.BigEndian.Uint64(rest[8*i:])
	}
	return r, ""
}

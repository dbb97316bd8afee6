package client

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Answer is an answer, and how well it is known.
type Answer[T any] struct {
	// Value is shared by all who ask a follower. It must not be changed.
	Value T
	Meta
}

// Meta says how well an answer is known.
type Meta struct {
	// Server is the URL of the server that has answered, without a password.
	Server string
	// Cache is where the server had the answer from.
	Cache Cache
	// Zxid is the newest ZooKeeper transaction of which the answer is made. 0 if there is none.
	Zxid Zxid
	// ETag stands for the bytes of the answer. It is the same on all servers.
	ETag string
	// Known is when the answer was last known to be what ZooKeeper holds, as far as the server
	// knows, to a second. While a follower follows, it moves on though the answer stays.
	Known time.Time
	// Doubt is why a follower does not know whether the answer is still true. It is nil as long
	// as a server vouches for the answer.
	Doubt error
	// Body is the answer as the server has sent it.
	Body []byte
}

// Age is the time since the answer was last known to be true.
func (m Meta) Age() time.Duration {
	if m.Known.IsZero() {
		return 0
	}
	// The clock that time.Since reads stands still while a machine is suspended.
	return max(time.Since(m.Known), time.Now().Round(0).Sub(m.Known.Round(0)), 0)
}

// Cache is where a server had an answer from: the header X-Cache.
type Cache string

// The values of a [Cache]. docs/api.md says what they mean.
const (
	Hit      Cache = "HIT"
	Miss     Cache = "MISS"
	Updating Cache = "UPDATING"
	Stale    Cache = "STALE"
)

// Zxid is a ZooKeeper transaction. Later transactions are greater.
type Zxid uint64

// String is the transaction in hexadecimal, as in X-Zxid.
func (z Zxid) String() string { return "0x" + strconv.FormatUint(uint64(z), 16) }

// ParseZxid reads what [Zxid.String] writes.
func ParseZxid(s string) (Zxid, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	n, err := strconv.ParseUint(digits, 16, 63)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no transaction such as 0x1f", s)
	}
	return Zxid(n), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (z *Zxid) UnmarshalText(text []byte) (err error) {
	*z, err = ParseZxid(string(text))
	return err
}

// reply is what a server has answered: a body, a problem, or that the client's answer still holds.
type reply struct {
	Meta
	problem *Problem
	// same: the answer is the one that the request has named.
	same bool
}

// doubtful reports whether the reply does not answer the question: the server could not say.
func (r *reply) doubtful() bool {
	return r.problem != nil && (r.problem.Status >= 500 && r.problem.Status != statusNotServed || passing[r.problem.Status])
}

// blames reports whether a reply that does not answer the question is the server's fault. Otherwise
// the server is as good as any for other questions.
func (r *reply) blames() bool {
	switch strings.TrimPrefix(r.problem.Type, problemTypes) {
	case "unread-record", "unreadable-record":
		return false
	}
	return true
}

// refused reports whether the reply is about the request and not about the data: the server does not
// take it. Another server may, if it was started with other flags or is of another version.
func (r *reply) refused() bool { return r.problem != nil && !r.doubtful() && r.Cache == "" }

// state stands for what the reply says. Two replies with the same state say the same.
func (r *reply) state() string {
	if r.problem != nil {
		return r.problem.Type + " " + r.problem.Detail
	}
	return r.ETag
}

// decode decodes the body of an answer.
func decode[T any](body []byte) (v T, err error) {
	if err = json.Unmarshal(body, &v); err != nil {
		err = fmt.Errorf("the answer is not one of magellan: %w", err)
	}
	return v, err
}

package httpapi

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"magellan/internal/discovery"
)

// maxSharedBytes bounds the memory of the answers that streams share.
const maxSharedBytes = 8 << 20

// questions bound the work that streams make when regions or datacenters change: each
// write of a datacenter's count of assigned shops changes every placement, and so what
// every stream that watches placements is to be told.
//
// A question that several streams ask is answered once for each topology, and its
// answer kept, within maxSharedBytes. And at most half of the processors work at
// such answers, so that the rest is for requests: a stream waits for its turn with
// each key, and those who wait take turns. What changes again while a key waits is
// looked at once.
//
// Shops are no such question. Their answers cost little, and may be waited for: the
// turn of whoever waits for ZooKeeper would be lost to all others.
type questions struct {
	turns chan struct{}
	bytes atomic.Int64 // of the answers that are kept

	mu    sync.Mutex
	asked map[questionKey]*question
}

// questionKey is what is asked.
type questionKey struct {
	what *watchable
	name string
}

// question is what is asked by some streams.
type question struct {
	key     questionKey
	streams int32 // under the lock of questions

	mu   sync.Mutex // held while the answer is made
	kept *sharedAnswer
}

// sharedAnswer is an answer that is kept, and what it was made from.
type sharedAnswer struct {
	from topologyKey
	body []byte
	etag []string
	zxid []string // nil where it has none
}

func (qs *questions) init() {
	qs.turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	qs.asked = make(map[questionKey]*question)
}

// join has the keys of a stream share their questions with those of others.
func (qs *questions) join(keys []*streamKey) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for _, k := range keys {
		if !k.what.topology {
			continue
		}
		key := questionKey{k.what, k.name}
		q := qs.asked[key]
		if q == nil {
			q = &question{key: key}
			qs.asked[key] = q
		}
		q.streams++
		k.question = q
	}
}

// leave undoes join.
func (qs *questions) leave(keys []*streamKey) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for _, k := range keys {
		if k.question == nil {
			continue
		}
		if k.question.streams--; k.question.streams == 0 {
			delete(qs.asked, k.question.key)
			qs.drop(k.question)
		}
	}
}

// shared reports whether more than one stream asks q.
func (qs *questions) shared(q *question) bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return q.streams > 1
}

// askInTurn is ask for a key that is made of regions and datacenters.
func (s *stream) askInTurn(k *streamKey) error {
	qs := &s.x.server.questions
	select {
	case qs.turns <- struct{}{}:
		defer func() { <-qs.turns }()
	case <-s.x.r.Context().Done():
		return s.x.r.Context().Err()
	}
	if !qs.shared(k.question) {
		return s.handle(k)
	}
	return s.askShared(k)
}

// askShared answers with what was answered to another stream, or for all of them.
func (s *stream) askShared(k *streamKey) error {
	in, rec, q := s.inner, &s.recorder, k.question
	all, basis, err := s.x.server.service.Regions(in.ctx, discovery.ReadOptions{})
	in.depend(basis.Depends) // before the answer is looked for
	if err != nil {
		return s.handle(k)
	}
	from := topologyKeyOf(all) // stands for what is known of regions and datacenters now
	q.mu.Lock()
	defer q.mu.Unlock()
	if a := q.kept; a != nil && a.from == from {
		rec.status, rec.body = http.StatusOK, a.body
		in.setMeta(discovery.Meta{Age: basis.Age, Cache: basis.Cache})
		rec.header["Etag"], rec.header["X-Zxid"] = a.etag, a.zxid
	} else {
		delete(in.r.Header, "If-None-Match") // the answer is for others as well
		if err := s.handle(k); err != nil {
			return err
		}
		// It may be of a later topology than from, and is good for that as well: it is
		// the later answer.
		s.x.server.questions.keep(q, from, rec)
	}
	if rec.status == http.StatusOK && parseETag(rec.header["Etag"][0]) == k.state {
		return errUnchanged
	}
	return nil
}

// keep keeps an answer for the others, if there is room. Its strings and its body are
// the stream's, which uses them again.
func (qs *questions) keep(q *question, from topologyKey, rec *recorder) {
	qs.drop(q)
	if rec.status != http.StatusOK {
		return
	}
	if n := int64(len(rec.body)); qs.bytes.Add(n) > maxSharedBytes {
		qs.bytes.Add(-n)
		return
	}
	q.kept = &sharedAnswer{from: from, body: bytes.Clone(rec.body), etag: []string{strings.Clone(rec.header["Etag"][0])}}
	if zxid := rec.header["X-Zxid"]; zxid != nil {
		q.kept.zxid = []string{strings.Clone(zxid[0])}
	}
}

// drop forgets the answer that is kept.
func (qs *questions) drop(q *question) {
	if q.kept != nil {
		qs.bytes.Add(-int64(len(q.kept.body)))
		q.kept = nil
	}
}

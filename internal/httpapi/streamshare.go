package httpapi

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"

	"magellan/internal/discovery"
)

// maxSharedBytes bounds the memory of the answers that streams share.
const maxSharedBytes = 8 << 20

// sharedQuestions bound the work that streams make when regions or datacenters change: each
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
type sharedQuestions struct {
	turns chan struct{}
	bytes atomic.Int64 // of the answers that are kept

	mu    sync.Mutex
	asked map[questionKey]*sharedQuestion
}

// questionKey is what is asked.
type questionKey struct {
	what *watchable
	name string
}

// sharedQuestion is what is asked by some streams.
type sharedQuestion struct {
	key     questionKey
	streams int32 // under the lock of sharedQuestions

	mu   sync.Mutex // held while the answer is made
	kept *sharedAnswer
}

// sharedAnswer is an answer that is kept, and what it was made from.
type sharedAnswer struct {
	from        topologyKey
	contentType []string
	body        *rendering
	zxid        int64
}

func (qs *sharedQuestions) init() {
	qs.turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	qs.asked = make(map[questionKey]*sharedQuestion)
}

// join has the keys of a stream share their questions with those of others.
func (qs *sharedQuestions) join(keys []*streamKey) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for _, k := range keys {
		if !k.what.topology {
			continue
		}
		key := questionKey{k.what, k.name}
		q := qs.asked[key]
		if q == nil {
			q = &sharedQuestion{key: key}
			qs.asked[key] = q
		}
		q.streams++
		k.shared = q
	}
}

// leave undoes join.
func (qs *sharedQuestions) leave(keys []*streamKey) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for _, k := range keys {
		if k.shared == nil {
			continue
		}
		if k.shared.streams--; k.shared.streams == 0 {
			delete(qs.asked, k.shared.key)
			qs.drop(k.shared)
		}
	}
}

// isShared reports whether more than one stream asks q.
func (qs *sharedQuestions) isShared(q *sharedQuestion) bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return q.streams > 1
}

// askInTurn is ask for a key whose answer is made of regions and datacenters.
func (s *stream) askInTurn(k *streamKey) error {
	qs := &s.x.server.shared
	select {
	case qs.turns <- struct{}{}:
		defer func() { <-qs.turns }()
	case <-s.x.r.Context().Done():
		return s.x.r.Context().Err()
	}
	if !qs.isShared(k.shared) {
		return s.handle(k)
	}
	return s.askShared(k)
}

// askShared answers with what was answered to another stream, or for all of them.
func (s *stream) askShared(k *streamKey) error {
	all, basis, err := s.x.server.service.Regions(s.ctx, discovery.ReadOptions{})
	k.on(basis.Depends) // before the answer is looked for
	if err != nil {
		return s.handle(k)
	}
	from := topologyKeyOf(all) // stands for what is known of regions and datacenters now
	q := k.shared
	q.mu.Lock()
	defer q.mu.Unlock()
	if kept := q.kept; kept != nil && kept.from == from {
		basis.Zxid = kept.zxid
		s.answer.rest(basis)
		s.answer.share(kept.contentType, kept.body.hash, kept.body)
		return nil
	}
	if err := s.handle(k); err != nil {
		return err
	}
	// It may be of a later topology than from, and is good for that as well: it is
	// the later answer.
	s.x.server.shared.keep(q, from, &s.answer)
	return nil
}

// keep keeps an answer for the others, if there is room. A copy is kept: the body's
// memory is the stream's, which uses it again.
func (qs *sharedQuestions) keep(q *sharedQuestion, from topologyKey, a *answer) {
	qs.drop(q)
	body := a.bytes()
	if n := int64(len(body)); qs.bytes.Add(n) > maxSharedBytes {
		qs.bytes.Add(-n)
		return
	}
	q.kept = &sharedAnswer{
		from: from, contentType: a.contentType, zxid: a.basis.Zxid,
		body: &rendering{body: bytes.Clone(body), hash: a.hash, work: &q.mu},
	}
}

// drop forgets the answer that is kept.
func (qs *sharedQuestions) drop(q *sharedQuestion) {
	if q.kept != nil {
		qs.bytes.Add(-int64(len(q.kept.body.body)))
		q.kept = nil
	}
}

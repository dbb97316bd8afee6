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

// sharedQuestions bound the work that streams make when regions or datacenters change. Each
// write of a datacenter's count of assigned shops changes every placement, so every stream
// that watches placements asks again.
//
// If several streams ask the same question, it is answered once for each topology. The answer
// is kept for the others, within maxSharedBytes. At most half of the processors work at such
// answers, and the rest is for requests. For each key a stream waits for its turn; streams
// that wait take turns. If a key's answer changes again while the key waits, it is looked at
// only once.
//
// Questions about shops are not shared. Their answers cost little, and may have to wait for
// ZooKeeper: a stream that waits for that would hold a turn that the others could use.
type sharedQuestions struct {
	turns chan struct{}
	bytes atomic.Int64 // of the answers that are kept

	mu    sync.Mutex
	asked map[questionKey]*sharedQuestion
}

// questionKey tells one question from another.
type questionKey struct {
	what *watchable
	name string
}

// sharedQuestion is a question that some streams ask.
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

// join makes the keys of a stream share their questions with the keys of other streams.
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

// askInTurn asks the question of a key whose answer is made of regions and datacenters, when
// it is the stream's turn.
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

// askShared answers with what another stream was answered. If there is no such answer of the
// present topology, it asks, and keeps the answer for the other streams.
func (s *stream) askShared(k *streamKey) error {
	all, basis, err := s.x.server.service.Regions(s.ctx, discovery.ReadOptions{})
	k.on(basis.Depends) // watch first and look then, so that no change is missed
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
	// The answer may be of a later topology than from. It is kept for from all the same,
	// because a later answer is better.
	s.x.server.shared.keep(q, from, &s.answer)
	return nil
}

// keep keeps an answer for the other streams, if there is room. It keeps a copy, because the
// stream uses the body's memory again.
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

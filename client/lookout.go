package client

import (
	"context"
	"sync"
	"time"
)

// lookout looks for a server that knows more, while the preferred one serves old answers.
type lookout struct {
	client *Client

	mu   sync.Mutex
	last time.Time
}

// due reports whether an answer of this age is a reason to look now, and takes it that it is done.
func (l *lookout) due(age time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age < staleAfter || len(l.client.servers.all) == 1 || time.Since(l.last) < staleAfter {
		return false
	}
	l.last = time.Now()
	return true
}

// elsewhere asks the other servers, since an answer of this one is so old. If one of them has a younger
// one, it is preferred from then on. elsewhere reports that.
func (l *lookout) elsewhere(ctx context.Context, s server, r request, age time.Duration) bool {
	for _, other := range l.client.servers.inTurn() {
		if other == s {
			continue
		}
		got, err := l.client.askOne(ctx, other, r, l.client.cfg.Timeout)
		if err == nil && got.Cache != "" && !got.doubtful() && got.Age() < age/2 {
			l.client.servers.prefer(other)
			return true
		}
	}
	return false
}

package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// requestTimeout is far more than magellan's own.
const requestTimeout = 30 * time.Second

// reader asks one replica, one request after the other, and records what it is
// told.
type reader struct {
	client *http.Client
	url    string
	number int // of the replica
	keys   []*key
	now    func() instant
	rand   *rand.Rand
	found  *violations
	// rest is the pause between two requests.
	rest time.Duration

	reads    map[*key][]read
	answered int // answers that say something
	silent   int // and that say nothing
}

// run asks until ctx ends.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if r.rest > 0 {
			_ = pause(ctx, r.rest)
		}
		s := r.keys[r.rand.IntN(len(r.keys))].subject
		var ask read
		switch dice := r.rand.IntN(100); {
		case dice < 8:
			ask.fresh = true
		case dice < 12:
			ask.floor = s.acked.Load()
		case dice < 15:
			r.crowd(ctx)
			continue
		}
		r.ask(ctx, s, ask)
	}
}

// ask sends one request about s, and records the answer: a read of each of its keys. It
// returns them, nil where there is none.
func (r *reader) ask(ctx context.Context, s *subject, ask read) (told []read) {
	ask.replica, ask.begin = r.number, r.now()
	status, header, body, err := r.get(ctx, s.url(), ask)
	ask.end = r.now()
	var values []string
	ok := false
	if err == nil {
		values, ok, err = s.understand(status, body)
	}
	if err == nil && ok {
		err = ask.describe(s, header)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		kind := Served
		if errors.Is(err, errPhantom) {
			kind = Phantom
		}
		r.found.add(kind, s.name, "%v at %v: %v", ask, s.url(), err)
		return nil
	case err != nil:
		return nil
	case !ok:
		r.silent++
		return nil
	}
	r.answered++
	for i, k := range s.keys {
		one := ask
		one.value = values[i]
		told = append(told, one)
		r.reads[k] = append(r.reads[k], one)
	}
	return told
}

func (r *reader) get(ctx context.Context, url string, ask read) (status int, _ http.Header, body []byte, err error) {
	// What is under way is brought to an end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+url, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	if ask.fresh {
		req.Header.Set("Cache-Control", "no-cache")
	}
	if ask.floor != 0 {
		req.Header.Set("X-Min-Zxid", fmt.Sprintf("%#x", ask.floor))
	}
	res, err := r.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, res.Header, body, err
}

// describe takes what an answer says of itself.
func (r *read) describe(s *subject, header http.Header) error {
	age, err := strconv.Atoi(header.Get("Age"))
	if err != nil {
		return fmt.Errorf("header Age: %w", err)
	}
	r.age = time.Duration(age) * time.Second
	status := header.Get("X-Cache")
	if status == "" {
		return fmt.Errorf("no X-Cache")
	}
	r.cache = cacheStatus(status[0])
	text := header.Get("X-Zxid")
	if text == "" || !s.ownZxid && len(s.keys) == 1 {
		return nil
	}
	zxid, err := strconv.ParseInt(strings.TrimPrefix(text, "0x"), 16, 64)
	if err != nil {
		return fmt.Errorf("header X-Zxid: %w", err)
	}
	if s.ownZxid {
		r.zxid = zxid
	} else {
		r.newest = zxid
	}
	return nil
}

// The crowd is shops that do not exist, with long names: they push others out of
// a small cache, and their watches fill sessions.
const (
	crowdShops  = 6000
	crowdAtOnce = 40
)

func crowdShop(i int) string { return fmt.Sprintf("crowd-%d-%s", i, strings.Repeat("x", 230)) }

// crowd asks for some of it in one request.
func (r *reader) crowd(ctx context.Context) {
	if err := r.lookup(ctx, r.rand.IntN(crowdShops-crowdAtOnce), crowdAtOnce); err != nil && ctx.Err() == nil {
		r.found.add(Served, "crowd", "%v", err)
	}
}

func (r *reader) lookup(ctx context.Context, from, count int) error {
	body := []byte(`{"shops":[`)
	for i := range count {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendQuote(body, crowdShop(from+i))
	}
	body = append(body, "]}"...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/shops/lookup", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK && res.StatusCode < http.StatusInternalServerError {
		err = fmt.Errorf("lookup: status %d: %.300s", res.StatusCode, text)
	}
	return err
}

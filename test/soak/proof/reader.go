package proof

import (
	"bytes"
	"context"
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
	client  *http.Client
	replica *replica
	number  int // of the replica
	keys    []*key
	now     func() instant
	rand    *rand.Rand
	found   *violations

	reads  map[*key][]read
	silent int // answers that say nothing
}

// run asks until ctx ends.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		k := r.keys[r.rand.IntN(len(r.keys))]
		var ask read
		switch dice := r.rand.IntN(100); {
		case dice < 8:
			ask.fresh = true
		case dice < 12:
			ask.floor = k.acked.Load()
		case dice < 15:
			r.crowd(ctx)
			continue
		}
		if answer, ok := r.ask(ctx, k, ask); ok {
			r.reads[k] = append(r.reads[k], answer)
		}
	}
}

// ask sends one request about k.
func (r *reader) ask(ctx context.Context, k *key, ask read) (answer read, ok bool) {
	ask.replica, ask.begin = r.number, r.now()
	status, header, body, err := r.get(ctx, k.url(k.i), ask)
	ask.end = r.now()
	if err == nil {
		ask.value, ok, err = k.understand(status, body)
	}
	if err == nil && ok {
		err = ask.describe(k, header)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		r.found.add(Served, k.name, "%v at %v: %v", ask, k.url(k.i), err)
		return ask, false
	case !ok:
		r.silent++
	}
	return ask, ok && err == nil
}

func (r *reader) get(ctx context.Context, url string, ask read) (status int, _ http.Header, body []byte, err error) {
	// What is under way is brought to an end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.replica.URL+url, nil)
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
func (r *read) describe(k *key, header http.Header) error {
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
	if zxid := header.Get("X-Zxid"); k.ownZxid && zxid != "" {
		if r.zxid, err = strconv.ParseInt(strings.TrimPrefix(zxid, "0x"), 16, 64); err != nil {
			return fmt.Errorf("header X-Zxid: %w", err)
		}
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.replica.URL+"/v1/shops/lookup", bytes.NewReader(body))
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

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// shops is how many there are, with the numbers 1 to shops as their names. The
// first hotShops are asked for alone, all of them many at once.
const shops, hotShops = 20000, 50

// batch is how many shops are asked for at once.
const batch = 100

// cacheBytes has room for the hot shops and some more: nearly all others must be
// read from ZooKeeper each time, and put others out.
const cacheBytes = 128 << 10

// load is what one magellan is asked all the time: single shops, which are in
// memory, and many shops at once, which are not.
type load struct {
	url         string
	gets, reads float64 // shops a second

	client      http.Client
	doneGets    atomic.Int64
	doneReads   atomic.Int64
	failed      atomic.Int64
	failedFirst sync.Once
	failure     error
}

// wasHad reports whether nearly as much was asked as should have been in that time.
func (l *load) wasHad(d time.Duration) bool {
	const nearly = 0.8
	return float64(l.doneGets.Load()) >= nearly*l.gets*d.Seconds() && float64(l.doneReads.Load()) >= nearly*l.reads*d.Seconds()
}

// getters and readers are how many requests of a kind are under way at most.
const getters, readers = 8, 2

func newLoad(url string, gets, reads float64) *load {
	return &load{url: url, gets: gets, reads: reads, client: http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: getters + readers},
	}}
}

// run asks until ctx ends.
func (l *load) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range getters {
		wg.Go(func() { l.pace(ctx, l.gets/getters, 1, &l.doneGets, l.get) })
	}
	for range readers {
		wg.Go(func() { l.pace(ctx, l.reads/readers, batch, &l.doneReads, l.read) })
	}
	wg.Wait()
	l.client.CloseIdleConnections()
}

// pace calls ask, for n shops at a time, so often that it is perSecond shops. What
// could not be asked in time is not made up for.
func (l *load) pace(ctx context.Context, perSecond float64, n int64, done *atomic.Int64, ask func(context.Context) error) {
	if perSecond <= 0 {
		return
	}
	// Many asks at a tick: a timer for each would cost more than the request.
	const tick = 20 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	due := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		for due = min(due, 1) + perSecond*tick.Seconds()/float64(n); due >= 1; due-- {
			err := ask(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				l.failed.Add(1)
				l.failedFirst.Do(func() { l.failure = err })
				continue
			}
			done.Add(n)
		}
	}
}

func randomShop(of int) string { return strconv.Itoa(1 + rand.IntN(of)) }

func (l *load) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/v1/shops/"+randomShop(hotShops), nil)
	if err != nil {
		return err
	}
	return l.do(req)
}

func (l *load) read(ctx context.Context) error {
	body := []byte(`{"shops":[`)
	for i := range batch {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendQuote(body, randomShop(shops))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/v1/shops/lookup", bytes.NewReader(append(body, "]}"...)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return l.do(req)
}

func (l *load) do(req *http.Request) error {
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", req.Method, req.URL, resp.Status, body)
	}
	return err
}

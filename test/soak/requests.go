package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	lookupAtOnce = 1000
	// sampled is one of how many requests whose latency is kept.
	sampled = 32
	// exchangeTimeout is far more than a request takes.
	exchangeTimeout = 20 * time.Second
)

func shopName(i int) string { return fmt.Sprint("shop-", 1_000_000+i) }

// requests are GET requests ready to be sent: a generator that shares the
// machine with the server should cost little.
type requests struct {
	addr string
	all  [][]byte
}

// newRequests prepares them, and has magellan read all shops.
func newRequests(ctx context.Context, url string, shops int) (*requests, error) {
	r := &requests{addr: strings.TrimPrefix(url, "http://")}
	for i := range shops {
		r.all = append(r.all, fmt.Appendf(nil, "GET /v1/shops/%s HTTP/1.1\r\nHost: soak\r\n\r\n", shopName(i)))
	}
	for from := 0; from < shops; from += lookupAtOnce {
		body := []byte(`{"shops":[`)
		for i := from; i < min(shops, from+lookupAtOnce); i++ {
			if i > from {
				body = append(body, ',')
			}
			body = strconv.AppendQuote(body, shopName(i))
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/shops/lookup", bytes.NewReader(append(body, "]}"...)))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("lookup: %s: %.200s (%v)", res.Status, text, err)
		}
	}
	return r, nil
}

// outcome is what came of many requests or changes.
type outcome struct {
	done, failed int
	took         time.Duration
	latencies    []time.Duration // some of them
	example      error           // of a failure
}

func (o outcome) perSecond() float64 { return float64(o.done) / o.took.Seconds() }

func (o outcome) String() string {
	text := fmt.Sprintf("%d in %v, %.0f a second, %d failed", o.done, o.took.Round(time.Second), o.perSecond(), o.failed)
	if n := len(o.latencies); n > 0 {
		slices.Sort(o.latencies)
		text += fmt.Sprintf(", p50 %v, p99 %v", o.latencies[n/2].Round(time.Microsecond), o.latencies[n*99/100].Round(time.Microsecond))
	}
	if o.example != nil {
		text += fmt.Sprintf(" (%v)", o.example)
	}
	return text
}

func (o *outcome) add(p outcome) {
	o.done, o.failed, o.latencies = o.done+p.done, o.failed+p.failed, append(o.latencies, p.latencies...)
	if p.example != nil {
		o.example = p.example
	}
}

// send sends requests over some connections: as fast as they are answered for
// rate 0, else so many a second. Latency counts from when a request was due.
func (r *requests) send(ctx context.Context, connections int, rate float64, duration time.Duration) (outcome, error) {
	sending, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	return together(connections, rate, func(p *pace) outcome { return r.sendOn(sending, p) }), ctx.Err()
}

// together has so many at once do work, which share a rate, and adds up what comes
// of it.
func together(workers int, rate float64, work func(*pace) outcome) (total outcome) {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	begin := time.Now()
	for i := range workers {
		all.Go(func() {
			one := work(newPace(rate/float64(workers), float64(i)/float64(workers)))
			mu.Lock()
			defer mu.Unlock()
			total.add(one)
		})
	}
	all.Wait()
	total.took = time.Since(begin)
	return total
}

// sendOn sends requests over one connection, or the next one after a failure.
func (r *requests) sendOn(ctx context.Context, p *pace) (o outcome) {
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for {
		due, err := p.wait(ctx)
		if err != nil {
			return o
		}
		if conn == nil {
			if conn, err = net.Dial("tcp", r.addr); err == nil {
				in = bufio.NewReaderSize(conn, 4<<10)
			}
		}
		if err == nil {
			err = exchange(conn, in, r.all[rand.IntN(len(r.all))])
		}
		if err != nil {
			o.failed++
			o.example = err
			if conn != nil {
				conn.Close()
				conn = nil
			}
			continue
		}
		if o.done++; o.done%sampled == 0 {
			o.latencies = append(o.latencies, time.Since(due))
		}
	}
}

// exchange sends one request and reads its answer, which has to be a 200.
func exchange(conn net.Conn, in *bufio.Reader, request []byte) error {
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("%q", status)
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
	}
	_, err = in.Discard(length)
	return err
}

// pace tells when the next of so many a second is due.
type pace struct {
	next     time.Time
	interval time.Duration
}

// newPace begins after a part of the first interval. Rate 0 is without pause.
func newPace(rate, phase float64) *pace {
	p := &pace{next: time.Now()}
	if rate > 0 {
		p.interval = time.Duration(float64(time.Second) / rate)
		p.next = p.next.Add(time.Duration(phase * float64(p.interval)))
	}
	return p
}

// wait waits until the next one is due, and returns when that was.
func (p *pace) wait(ctx context.Context) (due time.Time, err error) {
	if p.interval == 0 {
		return time.Now(), ctx.Err()
	}
	due = p.next
	p.next = p.next.Add(p.interval)
	if d := time.Until(due); d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	return due, ctx.Err()
}

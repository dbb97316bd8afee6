package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"magellan/internal/zk"
)

// churn is instances that come and go while clients follow their services by long polls. Each
// service that is followed has one client. Its ephemeral instances are numbered: one with the next
// number comes, the one before it goes, and so on. So an answer tells which changes it has in it.
type churn struct {
	fleet
	followed  int
	perSecond int // changes, of all services
	duration  time.Duration
	zookeeper *zk.Client // owns the instances

	// created and removed have when each number's change was acknowledged, by service.
	created, removed [][]int64
	followers        []*follower
	failed           atomic.Int64 // polls
	failure          atomic.Pointer[error]
}

// churnResult is what the churn has found.
type churnResult struct {
	changes, answers int
	seconds          float64 // from the first change to the last acknowledgement
	seen             delays  // of the changes
	unseen           int
	coalesced        int // changes that came to a client in one answer with a later one
}

// passing is the ID of a numbered instance, and passingMark is before each in an answer.
func passing(n int) string { return fmt.Sprintf("passing-%d", n) }

const passingMark = `{"id":"passing-`

// follower is a client that waits for one service by long polls.
type follower struct {
	service string

	mu   sync.Mutex
	seen []observation
	last []byte // the last answer
}

// observation is the numbers that an answer had.
type observation struct {
	at          int64 // as of monotonic
	first, last int
}

// observe notes an answer.
func (f *follower) observe(body []byte, at int64) error {
	o := observation{at: at, first: -1}
	rest := string(body)
	for {
		_, after, ok := strings.Cut(rest, passingMark)
		if !ok {
			break
		}
		digits, _, _ := strings.Cut(after, `"`)
		n, err := strconv.Atoi(digits)
		if err != nil {
			return err
		}
		if o.first < 0 || n < o.first {
			o.first = n
		}
		o.last = max(o.last, n)
		rest = after
	}
	if o.first < 0 {
		return fmt.Errorf("%s has no instance that passes: %.300s", f.service, body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.last = append(f.seen, o), body
	return nil
}

// answer is the last answer.
func (f *follower) answer() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// follow polls until ctx ends. ready is told of the first answer.
func (c *churn) follow(ctx context.Context, client *http.Client, url string, f *follower, ready func()) {
	etag := ""
	for ctx.Err() == nil {
		next, err := c.poll(ctx, client, url, f, etag)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.failed.Add(1)
			c.failure.Store(&err)
			time.Sleep(100 * time.Millisecond)
		case etag == "":
			ready()
		}
		if err == nil {
			etag = next
		}
	}
}

func (c *churn) poll(ctx context.Context, client *http.Client, url string, f *follower, etag string) (next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/services/"+f.service, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
		req.Header.Set("Prefer", "wait=60")
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	at := monotonic()
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode == http.StatusNotModified:
		return etag, nil
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s: %.300s", f.service, resp.Status, body)
	}
	return resp.Header.Get("ETag"), f.observe(body, at)
}

// passingRecord is the record of a numbered instance.
func (c *churn) passingRecord(service, n int) string {
	return strings.Replace(c.record(service*c.Instances, n), c.id(service*c.Instances), passing(n), 1)
}

// step makes a service's n-th change: an odd one brings an instance, an even one takes the one
// before it.
func (c *churn) step(ctx context.Context, service, n int) error {
	number := (n + 1) / 2
	if n%2 == 1 {
		_, _, err := c.zookeeper.Create(ctx, c.directory(service)+"/"+passing(number), []byte(c.passingRecord(service, number)), zk.CreateOptions{Mode: zk.Ephemeral})
		c.created[service] = append(c.created[service], monotonic())
		return err
	}
	err := c.zookeeper.Delete(ctx, c.directory(service)+"/"+passing(number-1), zk.AnyVersion)
	c.removed[service] = append(c.removed[service], monotonic())
	return err
}

// write makes all changes, as many a second as are wanted, and returns how many and how long that
// took. The changes of a service are made one after the other.
func (c *churn) write(ctx context.Context) (changes int, seconds float64, err error) {
	const writers, tick = 50, 10 * time.Millisecond
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var queues [writers]chan [2]int
	var done sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan [2]int, c.perSecond)
		done.Go(func() {
			for change := range queues[i] {
				if err := c.step(ctx, change[0], change[1]); err != nil {
					cancel(err)
				}
			}
		})
	}
	began := time.Now()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	total := int(c.duration.Seconds() * float64(c.perSecond))
	for changes < total && ctx.Err() == nil {
		<-ticker.C
		due := min(total, int(time.Since(began).Seconds()*float64(c.perSecond)))
		for ; changes < due; changes++ {
			service := changes % c.followed
			queues[service%writers] <- [2]int{service, 1 + changes/c.followed}
		}
	}
	for _, q := range queues {
		close(q)
	}
	done.Wait()
	return changes, time.Since(began).Seconds(), context.Cause(ctx)
}

// run has the services change while clients follow them. When it is over, each client's last answer
// must be what ZooKeeper holds.
func (c *churn) run(ctx context.Context, url string) (r churnResult, err error) {
	c.created, c.removed = make([][]int64, c.followed), make([][]int64, c.followed)
	for service := range c.followed { // each has number 0 before anybody looks
		path := c.directory(service) + "/" + passing(0)
		if _, _, err := c.zookeeper.Create(ctx, path, []byte(c.passingRecord(service, 0)), zk.CreateOptions{Mode: zk.Ephemeral}); err != nil {
			return r, err
		}
	}
	for service := range c.followed {
		err := until(ctx, "see the first instances that pass", func() error {
			body, _, err := get(ctx, url+"/v1/services/"+c.service(service))
			if err == nil && !strings.Contains(string(body), passingMark) {
				err = fmt.Errorf("%s has none", c.service(service))
			}
			return err
		})
		if err != nil {
			return r, err
		}
	}
	polling, stop := context.WithCancel(ctx)
	defer stop()
	transport := &http.Transport{MaxIdleConnsPerHost: c.followed, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var ready, polls sync.WaitGroup
	ready.Add(c.followed)
	for service := range c.followed {
		f := &follower{service: c.service(service)}
		c.followers = append(c.followers, f)
		polls.Go(func() { c.follow(polling, client, url, f, ready.Done) })
	}
	defer polls.Wait()
	defer stop()
	ready.Wait()
	if r.changes, r.seconds, err = c.write(ctx); err != nil {
		return r, err
	}
	if err := c.settle(ctx); err != nil {
		return r, err
	}
	stop()
	polls.Wait()
	if n := c.failed.Load(); n > 0 {
		return r, fmt.Errorf("%d polls have failed, the last with %w", n, *c.failure.Load())
	}
	c.evaluate(&r)
	if r.unseen > 0 {
		return r, fmt.Errorf("%d changes of %d are in no answer", r.unseen, r.changes)
	}
	return r, nil
}

// settle waits until each client's last answer is what ZooKeeper holds.
func (c *churn) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for service, f := range c.followers {
		held, err := c.held(ctx, service)
		if err != nil {
			return err
		}
		err = until(ctx, "see a client's last answer agree with ZooKeeper", func() error { return differs(f.answer(), held) })
		if err != nil {
			return fmt.Errorf("%s: %w", f.service, err)
		}
	}
	return nil
}

// held reads the records of a service from ZooKeeper, by the names of their znodes.
func (c *churn) held(ctx context.Context, service int) (map[string][]byte, error) {
	dir := c.directory(service)
	names, _, err := c.zookeeper.Children(ctx, dir)
	if err != nil {
		return nil, err
	}
	records := map[string][]byte{}
	for _, name := range names {
		if records[name], _, err = c.zookeeper.Get(ctx, dir+"/"+name); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// differs returns nil if an answer says of a service what its records say, by the names of their
// znodes.
func differs(answer []byte, records map[string][]byte) error {
	var is struct {
		Instances []struct {
			ID, Address, Znode, Status string
			Port                       int
			Metadata                   map[string]string
		}
		Unreadable int
	}
	if err := json.Unmarshal(answer, &is); err != nil {
		return err
	}
	if len(is.Instances) != len(records) || is.Unreadable != 0 {
		return fmt.Errorf("it has %d instances, and %d that cannot be read, of %d", len(is.Instances), is.Unreadable, len(records))
	}
	names := map[string]bool{}
	for _, i := range is.Instances {
		name := i.Znode[strings.LastIndexByte(i.Znode, '/')+1:]
		var record struct {
			ID, Address string
			Port        int
			Payload     map[string]string
		}
		if err := json.Unmarshal(records[name], &record); err != nil {
			return fmt.Errorf("there is no record %s: %w", name, err)
		}
		same := record.ID == i.ID && record.Address == i.Address && record.Port == i.Port && i.Status == "UP" && len(i.Metadata) == len(record.Payload)
		for key, value := range record.Payload {
			same = same && i.Metadata[key] == value
		}
		if !same || names[name] {
			return fmt.Errorf("it has %+v, and the record is %s", i, records[name])
		}
		names[name] = true
	}
	return nil
}

// evaluate finds the answer that was the first to have each change in it.
func (c *churn) evaluate(r *churnResult) {
	var took []int64
	for service, f := range c.followers {
		r.answers += len(f.seen)
		// find adds when a change was seen that was acknowledged at a time.
		find := func(at int64, has func(observation) bool) {
			if i := slices.IndexFunc(f.seen, has); i < 0 {
				r.unseen++
			} else {
				took = append(took, f.seen[i].at-at)
			}
		}
		for i, at := range c.created[service] {
			find(at, func(o observation) bool { return o.last >= i+1 })
		}
		for i, at := range c.removed[service] {
			find(at, func(o observation) bool { return o.first > i })
		}
	}
	r.coalesced = max(0, r.changes+len(c.followers)-r.answers) // the first answer has no change in it
	if len(took) > 0 {
		r.seen = delaysOf(took)
	}
}

// churnSize is how many services are followed, how many changes there are a second, and for how long.
func (r *run) churnSize() (followed, perSecond int, duration time.Duration) {
	if r.cmd.Short {
		return 200, 500, 4 * time.Second
	}
	return 1000, 1000, 30 * time.Second
}

// measureChurn has instances come and go while clients wait for the services.
func (r *run) measureChurn(ctx context.Context, many, one fleet) (err error) {
	magellan, err := r.startServing(ctx, many, one)
	if err != nil {
		return err
	}
	c := &churn{fleet: many}
	c.followed, c.perSecond, c.duration = r.churnSize()
	if c.zookeeper, err = openClient(ctx, r.zookeeper.Addr()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.zookeeper.Close()) }()
	cpu, err1 := magellan.cpu()
	backend, err2 := cpuOf(r.zookeeper.Pid())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	result, err := c.run(ctx, magellan.url)
	if err != nil {
		return err
	}
	cpuAfter, err1 := magellan.cpu()
	backendAfter, err2 := cpuOf(r.zookeeper.Pid())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r.progress("churn: %.0f changes/s, p50 %.0f us, p99 %.0f us", float64(result.changes)/result.seconds, result.seen.p50, result.seen.p99)
	changes := int64(result.changes)
	t := &table{head: []string{"long polls", "changes", "changes/s, acknowledged", "answers/s", "p50 us", "p99 us", "in one answer with a later one", "magellan CPU us/change", "ZooKeeper CPU us/change"}}
	t.add(number(float64(c.followed), 0), number(float64(changes), 0), number(float64(changes)/result.seconds, 0), number(float64(result.answers)/result.seconds, 0),
		number(result.seen.p50, 0), number(result.seen.p99, 0), number(float64(result.coalesced), 0),
		number(perRequest(cpuAfter-cpu, changes), 0), number(perRequest(backendAfter-backend, changes), 0))
	r.report.section("Services: churn", fmt.Sprintf("Ephemeral instances of %s services come and go, %s changes a second are wanted for %v, and each of these services is followed by a client with one long poll after the other. "+
		"The time is from the acknowledgement of a change to when the first answer that has it has been read. All clients are in one process, with the writer, on the same cores. "+
		"No poll has failed, each change was in an answer, and in the end each client's last answer was what ZooKeeper held; otherwise the run would have ended with an error.",
		number(float64(c.followed), 0), number(float64(c.perSecond), 0), c.duration), t)
	return nil
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Question is a question to a magellan. It is a value, and can be asked any number of times.
type Question[T any] struct {
	client *Client
	ask    request
	// key is the answer's key in GET /v1/watch; empty if no stream has the answer.
	key watchKey
}

// Option says how well an answer must be known.
type Option func(*request)

func header(name, value string) Option {
	return func(r *request) { *r = r.with(name, value) }
}

// NoCache asks for what ZooKeeper holds now.
func NoCache() Option { return header("Cache-Control", "no-cache") }

// MaxAge asks for an answer that was known to be true at most so long ago. It is rounded down to
// seconds.
func MaxAge(age time.Duration) Option {
	return header("Cache-Control", "max-age="+strconv.FormatInt(int64(max(age, 0)/time.Second), 10))
}

// MinZxid asks for an answer of a state that has this transaction in it, such as a write of the
// caller's.
func MinZxid(zxid Zxid) Option { return header("X-Min-Zxid", zxid.String()) }

// Get asks the servers in turn, until one knows the answer. An error that is a [*Problem] is what a
// server has said; with [ErrNotFound] the answer has its Meta. Any other error says that no server
// could be asked.
func (q Question[T]) Get(ctx context.Context, options ...Option) (Answer[T], error) {
	r := q.ask
	for _, option := range options {
		option(&r)
	}
	got, err := q.client.ask(ctx, r)
	if err != nil {
		return Answer[T]{}, err
	}
	if got.problem != nil {
		return Answer[T]{Meta: got.Meta}, got.problem
	}
	value, err := decode[T](got.Body)
	if err != nil {
		return Answer[T]{}, fmt.Errorf("%s: %w", got.Server, err)
	}
	return Answer[T]{Value: value, Meta: got.Meta}, nil
}

// Follow begins to ask the question in the background. The follower must be closed.
func (q Question[T]) Follow() *Follower[T] {
	f := &Follower[T]{newTail(q.client, q.ask, q.key, func(body []byte) (any, error) { return decode[T](body) })}
	f.tail.begin()
	return f
}

// lookup is the question about many names in one request.
func lookup[T any](c *Client, path, member string, names []string) Question[T] {
	if names == nil {
		names = []string{}
	}
	body, err := json.Marshal(map[string][]string{member: names})
	if err != nil {
		panic(err) // no string fails
	}
	r := request{method: "POST", path: path, body: body}
	return Question[T]{client: c, ask: r.with("Content-Type", "application/json")}
}

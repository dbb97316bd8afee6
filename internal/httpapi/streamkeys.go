package httpapi

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// watchable is a query parameter of GET /v1/watch: a route whose answers can be
// watched. named ones have the last element of the route's path, or its
// parameter "shop", as their value.
type watchable struct {
	parameter string
	path      string
	named     bool
	query     bool
	// topology: the answer is made of regions and datacenters, and of nothing else.
	topology bool
	// since: the answer is what has changed since the one that the client has.
	since bool
	check func(s *Server, x *exchange, name string) error
	// needs is what the answer may be made of.
	needs *need
}

// need is what has to be known for an answer.
type need struct {
	// named: it is another one for each name.
	named bool
	// known returns why it cannot be told, nil if it can.
	known func(ctx context.Context, s *shops.Service, name string) error
}

var (
	needsShop = &need{named: true, known: func(ctx context.Context, s *shops.Service, name string) error {
		_, _, err := s.Shop(ctx, name, discovery.ReadOptions{})
		return err
	}}
	needsDatacenter = &need{named: true, known: func(ctx context.Context, s *shops.Service, name string) error {
		_, _, err := s.Datacenter(ctx, name, discovery.ReadOptions{})
		return err
	}}
	needsTopology = &need{known: func(ctx context.Context, s *shops.Service, _ string) error {
		_, _, err := s.Regions(ctx, discovery.ReadOptions{})
		return err
	}}
	needsBlocklist = &need{known: func(ctx context.Context, s *shops.Service, _ string) error {
		_, _, err := s.BadCitizens(ctx, discovery.ReadOptions{})
		return err
	}}
)

func checkName(_ *Server, _ *exchange, name string) error { return discovery.ValidateName(name) }

// watchables stand in groups of the same need: see [stream.findTooOld].
var watchables = [...]watchable{
	{parameter: "shop", path: "/v1/shops/{shop}", named: true, check: checkName, needs: needsShop},
	{parameter: "placement", topology: true, path: "/v1/placement", named: true, query: true, check: checkName, needs: needsTopology},
	{parameter: "regions", topology: true, path: "/v1/regions", needs: needsTopology},
	{parameter: "region", topology: true, path: "/v1/regions/{region}", named: true, check: checkName, needs: needsTopology},
	{parameter: "datacenters", topology: true, path: "/v1/datacenters", needs: needsTopology},
	{parameter: "datacenter", topology: true, path: "/v1/datacenters/{datacenter}", named: true, check: checkName, needs: needsDatacenter},
	{parameter: "bad-citizens", path: "/v1/bad-citizens", needs: needsBlocklist},
	{parameter: "bad-citizens-delta", path: "/v1/bad-citizens", since: true, needs: needsBlocklist},
	{parameter: "bad-citizen", path: "/v1/bad-citizens/{ip}", named: true, needs: needsBlocklist, check: func(s *Server, x *exchange, ip string) error {
		_, _, err := s.service.BadCitizen(x.ctx, ip, discovery.ReadOptions{})
		if err != nil && passing(err) {
			return nil // the key is good, and its first event says what is not
		}
		return err
	}},
}

// streamKey is one answer that a stream watches.
type streamKey struct {
	dependencies
	stream *stream
	what   *watchable
	route  *route
	name   string
	// state is a hash of the answer that the client has: its ETag, or what takes
	// its place where the answer is that there is none. 0: the client has nothing.
	state uint64
	// question is what other streams may ask as well; nil where the answer is made
	// of more than regions and datacenters.
	question *question
	// pending: it stands in the stream's list of what is to be looked at. Under
	// the stream's lock.
	pending bool
	// learnt is when the first change was learnt of since the last look, in
	// nanoseconds of Unix time.
	learnt atomic.Int64
	// due is when to look again without being told, zero for never.
	due time.Time
}

// Changed implements discovery.Observer.
func (k *streamKey) Changed(at time.Time) {
	if !at.IsZero() {
		k.learnt.CompareAndSwap(0, at.UnixNano())
	}
	k.stream.changed(k)
}

// String is the key as it stands in the query, decoded.
func (k *streamKey) String() string {
	if k.what.named {
		return k.what.parameter + "=" + k.name
	}
	return k.what.parameter
}

// streamKeys reads what a stream is to watch, in the order of watchables and
// of the query, each once.
func (x *exchange) streamKeys() ([]*streamKey, error) {
	parameters := make([]string, len(watchables))
	for i := range watchables {
		parameters[i] = watchables[i].parameter
	}
	values, err := x.query(parameters...)
	if err != nil {
		return nil, err
	}
	var keys []*streamKey
	most := x.server.cfg.MaxStreamKeys
	for i := range watchables {
		what := &watchables[i]
		names := values[what.parameter]
		if !what.named && len(names) > 0 {
			if _, err := single(values, what.parameter); err != nil {
				return nil, err
			}
			if names[0] != "" {
				return nil, badRequest(fmt.Sprintf("query parameter %q takes no value", what.parameter))
			}
		}
		seen := make(map[string]bool, len(names))
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if len(keys) == most {
				return nil, badRequest(fmt.Sprintf("more than %d keys for one stream: watch the others on another", most))
			}
			if what.named {
				if err := what.check(x.server, x, name); err != nil {
					return nil, fmt.Errorf("%s=%q: %w", what.parameter, name, err)
				}
			}
			keys = append(keys, &streamKey{what: what, route: x.server.watched[what.path], name: name})
		}
	}
	if len(keys) == 0 {
		return nil, badRequest("nothing to watch: give shop=NAME, bad-citizens or another key; /openapi.json lists them")
	}
	return keys, nil
}

// query is the query of the request that answers for the key.
func (k *streamKey) query() string {
	switch {
	case k.what.query:
		return "shop=" + url.QueryEscape(k.name)
	case k.what.since && k.state != 0:
		return "since=" + string(appendHex64(nil, k.state))
	}
	return ""
}

// problemState is the state of an answer without an ETag.
func problemState(body []byte) uint64 { return max(1, xxhash.Sum64(body)) }

// keysHash tells one set of keys from another.
func keysHash(keys []*streamKey) uint64 {
	h := xxhash.New()
	for _, k := range keys {
		_, _ = h.WriteString(k.String())
		_, _ = h.Write([]byte{'/'}) // in no name
	}
	return h.Sum64()
}

// names are the shops among keys.
func shopNames(keys []*streamKey) []string {
	var names []string
	for _, k := range keys {
		if k.what.parameter == "shop" {
			names = append(names, k.name)
		}
	}
	return slices.Clip(names)
}

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
	"magellan/internal/services"
)

// watchable is a query parameter of GET /v1/watch. It stands for a route whose answers can be
// watched.
type watchable struct {
	parameter string
	path      string
	// named: the parameter has a value, which is the question's name.
	named bool
	// query: the value is not the name in the path but the route's parameter "shop".
	query bool
	// topology: the answer is made of regions and datacenters, and of nothing else.
	topology bool
	// since: the answer is what has changed since the answer that the client has.
	since bool
	// of is what the answer is about.
	of domain
	// view is the route's parameter "view" of the question; empty if it has none.
	view string
	// check returns what is wrong with a value.
	check func(ctx context.Context, s *Server, name string) error
	// needs is what must be known for an answer.
	needs *need
}

// need is what must be known for an answer.
type need struct {
	// named: each name needs something else.
	named bool
	// known returns nil if what is needed is known, and otherwise the reason why not. The
	// basis has the age of what is known, also if that is that something does not exist.
	known func(ctx context.Context, s *Server, name string) (discovery.Basis, error)
}

var (
	needsShop = &need{named: true, known: func(ctx context.Context, s *Server, name string) (discovery.Basis, error) {
		_, basis, err := s.service.Shop(ctx, name, discovery.ReadOptions{})
		return basis, err
	}}
	needsDatacenter = &need{named: true, known: func(ctx context.Context, s *Server, name string) (discovery.Basis, error) {
		_, basis, err := s.service.Datacenter(ctx, name, discovery.ReadOptions{})
		return basis, err
	}}
	needsTopology = &need{known: func(ctx context.Context, s *Server, _ string) (discovery.Basis, error) {
		_, basis, err := s.service.Regions(ctx, discovery.ReadOptions{})
		return basis, err
	}}
	needsBlocklist = &need{known: func(ctx context.Context, s *Server, _ string) (discovery.Basis, error) {
		_, basis, err := s.service.BadCitizens(ctx, discovery.ReadOptions{})
		return basis, err
	}}
)

var needsServices = &need{known: func(ctx context.Context, s *Server, _ string) (discovery.Basis, error) {
	_, basis, err := s.services.Services(ctx, "", discovery.ReadOptions{})
	return basis, err
}}

var needsService = &need{named: true, known: func(ctx context.Context, s *Server, name string) (discovery.Basis, error) {
	_, basis, err := s.services.Service(ctx, name, "", discovery.ReadOptions{})
	return basis, err
}}

var needsZnode = &need{named: true, known: func(ctx context.Context, s *Server, path string) (discovery.Basis, error) {
	_, basis, err := s.znodes.Znode(ctx, znodePath(path), discovery.ReadOptions{})
	return basis, err
}}

func checkName(_ context.Context, _ *Server, name string) error { return discovery.ValidateName(name) }

// watchables are the query parameters of GET /v1/watch. Those with the same need stand
// together: see [stream.ages].
var watchables = [...]watchable{
	{parameter: "shop", of: ofShops, path: "/v1/shops/{shop}", named: true, check: checkName, needs: needsShop},
	{parameter: "placement", of: ofShops, topology: true, path: "/v1/placement", named: true, query: true, check: checkName, needs: needsTopology},
	{parameter: "regions", of: ofShops, topology: true, path: "/v1/regions", needs: needsTopology},
	{parameter: "region", of: ofShops, topology: true, path: "/v1/regions/{region}", named: true, check: checkName, needs: needsTopology},
	{parameter: "datacenters", of: ofShops, topology: true, path: "/v1/datacenters", needs: needsTopology},
	{parameter: "datacenter", of: ofShops, topology: true, path: "/v1/datacenters/{datacenter}", named: true, check: checkName, needs: needsDatacenter},
	{parameter: "bad-citizens", of: ofShops, path: "/v1/bad-citizens", needs: needsBlocklist},
	{parameter: "bad-citizens-delta", of: ofShops, path: "/v1/bad-citizens", since: true, needs: needsBlocklist},
	{parameter: "bad-citizen", of: ofShops, path: "/v1/bad-citizens/{ip}", named: true, needs: needsBlocklist, check: func(ctx context.Context, s *Server, ip string) error {
		_, _, err := s.service.BadCitizen(ctx, ip, discovery.ReadOptions{})
		if err != nil && passing(err) {
			return nil // the key is valid, and its first event has the problem
		}
		return err
	}},
	{parameter: "service", path: "/v1/services/{service}", of: ofServices, named: true, needs: needsService, check: func(_ context.Context, _ *Server, name string) error {
		return services.ValidateName(name)
	}},
	{parameter: "znode", path: "/v1/znodes/{path}", view: "json", of: ofZnodes, named: true, needs: needsZnode, check: func(_ context.Context, s *Server, path string) error {
		return s.znodes.Check(znodePath(path))
	}},
	{parameter: "services", path: "/v1/services", of: ofServices, needs: needsServices},
}

// streamKey is one answer that a stream watches.
type streamKey struct {
	dependencies
	stream *stream
	what   *watchable
	route  *route
	name   string
	// state is the hash of the answer, or of the problem, that the client has. 0: the
	// client has nothing.
	state uint64
	// shared is the question if other streams may ask it as well; nil if the answer is
	// made of more than regions and datacenters.
	shared *sharedQuestion
	// pending: the key is in the stream's list of keys to look at. Under the stream's lock.
	pending bool
	// learnt is when the cache learnt of the first change since the last look, in nanoseconds
	// of Unix time; 0 if that is unknown.
	learnt atomic.Int64
	// due is when to look again even if nothing is notified; zero for never.
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

// streamKeys reads from a query what a stream is to watch, in the order of watchables
// and of the query, each once.
func (s *Server) streamKeys(ctx context.Context, rawQuery string) ([]*streamKey, error) {
	parameters := make([]string, len(watchables))
	for i := range watchables {
		parameters[i] = watchables[i].parameter
	}
	values, err := parseQuery(rawQuery, parameters)
	if err != nil {
		return nil, err
	}
	var keys []*streamKey
	most := s.cfg.MaxStreamKeys
	for i := range watchables {
		what := &watchables[i]
		names := values[what.parameter]
		if err := s.serves(what.of); err != nil && len(names) > 0 {
			return nil, badRequest(fmt.Sprintf("query parameter %q: %v", what.parameter, err))
		}
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
				if err := what.check(ctx, s, name); err != nil {
					return nil, fmt.Errorf("%s=%q: %w", what.parameter, name, err)
				}
			}
			keys = append(keys, &streamKey{what: what, route: s.watched[what.path], name: name})
		}
	}
	if len(keys) == 0 {
		return nil, badRequest("nothing to watch: give shop=NAME, bad-citizens or another key; /openapi.json lists them")
	}
	return keys, nil
}

// query is the query of the key's question.
func (k *streamKey) query() url.Values {
	switch {
	case k.what.view != "":
		return url.Values{"view": {k.what.view}}
	case k.what.query:
		return url.Values{"shop": {k.name}}
	case k.what.since && k.state != 0:
		return url.Values{"since": {string(appendHex64(nil, k.state))}}
	}
	return nil
}

// keysHash is a hash that tells one set of keys from another.
func keysHash(keys []*streamKey) uint64 {
	h := xxhash.New()
	for _, k := range keys {
		_, _ = h.WriteString(k.String())
		_, _ = h.Write([]byte{'/'}) // in no name
	}
	return h.Sum64()
}

// shopNames returns the names of the shops among keys.
func shopNames(keys []*streamKey) []string {
	var names []string
	for _, k := range keys {
		if k.what.parameter == "shop" {
			names = append(names, k.name)
		}
	}
	return slices.Clip(names)
}

package httpapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// This file answers those requests of Consul's HTTP API by which clients discover services, so that
// clients of Consul can be pointed at magellan. See https://developer.hashicorp.com/consul/api-docs
// under catalog and health. consulbody.go renders the answers.

// consulParameters are what every request may have in its query. Those that only say which server
// of Consul may answer, or how the answer is written, have no effect here.
var consulParameters = []string{"index", "wait", "stale", "consistent", "cached", "dc", "ns", "partition", "near", "pretty", "token", "merge-central-config", "filter", "node-meta", "peer"}

// consulQuery is what the query of a request says besides which instances are wanted.
type consulQuery struct {
	// known is the index that the client has, 0 if it has none.
	known services.Index
	// wait is how long the client waits for a greater one. 0: it does not wait.
	wait time.Duration
}

// Consul's bounds of waiting. [Config.MaxWait] is another.
const (
	consulWait    = 5 * time.Minute // if the query does not say
	consulMaxWait = 10 * time.Minute
)

// consulQuery reads the query of a question, and sets how fresh the answer must be.
func (s *Server) consulQuery(q *question) (c consulQuery, err error) {
	value := func(name string) string {
		v, e := q.single(name)
		err = errors.Join(err, e)
		return v
	}
	index, wait, dc := value("index"), value("wait"), value("dc")
	for _, name := range []string{"ns", "partition"} {
		if v := value(name); v != "" && v != "default" {
			return c, badRequest(fmt.Sprintf("%s=%q: there is none but the default", name, v))
		}
	}
	for _, name := range []string{"filter", "node-meta", "peer"} { // they have no effect if they are empty
		if v := value(name); v != "" {
			return c, badRequest(fmt.Sprintf("%s=%q: magellan does not do this", name, v))
		}
	}
	switch {
	case err != nil:
		return c, err
	case dc != "" && !strings.EqualFold(dc, s.cfg.ConsulDatacenter):
		return c, badRequest(fmt.Sprintf("No path to datacenter: dc is %q, and here is %q, which --consul-datacenter names", dc, s.cfg.ConsulDatacenter))
	case q.query.Has("stale") && q.query.Has("consistent"):
		return c, badRequest("stale and consistent exclude each other")
	}
	if q.query.Has("consistent") {
		q.read.Fresh = true
	}
	if index != "" {
		known, err := strconv.ParseUint(index, 10, 64)
		if err != nil {
			return c, badRequest(fmt.Sprintf("index=%q: want a decimal number, as in the header X-Consul-Index", index))
		}
		c.known = services.Index(known)
	}
	most := consulWait
	if wait != "" {
		d, err := time.ParseDuration(wait)
		if err != nil {
			return c, badRequest(fmt.Sprintf("wait=%q: want a duration, such as 120000ms or 5m", wait))
		}
		if d > 0 {
			most = min(d, consulMaxWait)
		}
	}
	if c.known != 0 {
		c.wait = most
	}
	return c, nil
}

// number gives an answer its index, and says which one the asker has.
func (a *answer) number(index services.Index, c consulQuery) {
	a.index, a.known, a.wait = index, c.known, c.wait
}

// consulInstances reads the instances that a question is about. That there is no such service is an
// answer without instances, as of Consul.
func (s *Server) consulInstances(q *question, a *answer) (found services.Answer, err error) {
	c, err := s.consulQuery(q)
	if err != nil {
		return found, err
	}
	found, index, basis, err := s.services.IndexedService(q.ctx, q.name, q.read)
	a.rest(basis)
	if err != nil && !errors.Is(err, discovery.ErrNotFound) {
		return found, err
	}
	a.number(index, c)
	return found, nil
}

// getConsulHealth answers GET /v1/health/service/{service}.
func (s *Server) getConsulHealth(q *question, a *answer) error {
	filter := instanceFilter{tags: q.query["tag"]}
	if q.query.Has("passing") {
		word, err := q.single("passing")
		if err != nil {
			return err
		}
		passing := true
		if word != "" {
			if passing, err = strconv.ParseBool(word); err != nil {
				return badRequest(fmt.Sprintf("passing=%q: want true or false, or no value for true", word))
			}
		}
		if passing {
			filter.statuses = []services.Status{services.Up}
		}
	}
	found, err := s.consulInstances(q, a)
	if err != nil {
		return err
	}
	a.compose(contentJSON, s.appendConsulInstances(a.buf[:0], found, &filter, (*Server).appendConsulHealth))
	return nil
}

// getConsulService answers GET /v1/catalog/service/{service}. The order is that of the answer about
// health: Traefik takes the two together by their positions.
func (s *Server) getConsulService(q *question, a *answer) error {
	found, err := s.consulInstances(q, a)
	if err != nil {
		return err
	}
	a.compose(contentJSON, s.appendConsulInstances(a.buf[:0], found, &instanceFilter{tags: q.query["tag"]}, (*Server).appendConsulService))
	return nil
}

// consulList reads all services for a question, and what its answer depends on.
func (s *Server) consulList(q *question, a *answer, topic discovery.Topic) (all []services.MountAnswer, err error) {
	c, err := s.consulQuery(q)
	if err != nil {
		return nil, err
	}
	all, index, basis, err := s.services.IndexedServices(q.ctx, q.read)
	basis.Depends = discovery.DependsOn(topic)
	a.rest(basis)
	if err != nil {
		return nil, err
	}
	for i := range all {
		for _, service := range all[i].Services {
			if err := isKnown(service); err != nil {
				return nil, err
			}
		}
	}
	a.number(index, c)
	return all, nil
}

// getConsulServices answers GET /v1/catalog/services. A client may drop a service that is not in the
// list, or whose tags are not. So if nothing is known of one service, there is no list.
func (s *Server) getConsulServices(q *question, a *answer) error {
	all, err := s.consulList(q, a, services.ServicesTopic())
	if err != nil {
		return err
	}
	a.compose(contentJSON, appendConsulServices(a.buf[:0], all))
	return nil
}

// consulStates are the last elements of the paths of GET /v1/health/state/{state}.
var consulStates = []string{"any", consulPassing, consulWarning, consulCritical}

// getConsulState answers GET /v1/health/state/{state}.
func (s *Server) getConsulState(q *question, a *answer) error {
	state := ""
	for _, one := range consulStates {
		if q.name == one {
			state = one
		}
	}
	if state == "" {
		return badRequest(fmt.Sprintf("there is no state %q: want one of %s", q.name, strings.Join(consulStates, ", ")))
	}
	all, err := s.consulList(q, a, services.InstancesTopic())
	if err != nil {
		return err
	}
	a.compose(contentJSON, appendConsulChecks(a.buf[:0], all, state))
	return nil
}

// getConsulSelf answers GET /v1/agent/self, which clients ask for the name of the datacenter.
func (s *Server) getConsulSelf(q *question, a *answer) error {
	if _, err := s.consulQuery(q); err != nil {
		return err
	}
	dst := appendString(append(a.buf[:0], `{"Config":{"Datacenter":`...), s.cfg.ConsulDatacenter)
	a.compose(contentJSON, append(dst, `,"NodeName":"magellan"},"Meta":{}}`+"\n"...))
	return nil
}

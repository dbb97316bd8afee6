package httpapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// getPrometheus answers GET /v1/sd/prometheus as Prometheus' http_sd wants it: all targets, each
// with its labels. See docs/http_sd.md and discovery/http/http.go of prometheus/prometheus.
//
// Prometheus keeps the targets that it has if the answer is an error, and drops those that are not
// in a good answer. So a service of which nothing is known, or a mount that does not exist, makes the
// answer an error.
func (s *Server) getPrometheus(q *question, a *answer) error {
	mount, filter, err := instanceQuery(q)
	if err != nil {
		return err
	}
	mounts, basis, err := s.services.Services(q.ctx, mount, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	only := q.query["service"]
	dst := append(a.buf[:0], '[')
	for i := range mounts {
		m := &mounts[i]
		if !m.Exists && mount != "" {
			return fmt.Errorf("%w: the mount %s does not exist in ZooKeeper, and an empty list of targets would be taken for the truth", discovery.ErrUnavailable, m.Path)
		}
		for _, service := range m.Services {
			if only != nil && !slices.Contains(only, service.Name) {
				continue
			}
			if err := isKnown(service); err != nil {
				return err
			}
			for j := range service.Members {
				member := &service.Members[j]
				if !filter.takes(member.Instance) {
					continue
				}
				if len(dst) > 1 {
					dst = append(dst, ',')
				}
				dst = appendTarget(dst, service.Service, member)
			}
		}
	}
	a.compose(contentJSON, append(dst, "]\n"...))
	return nil
}

// isKnown returns an error if nothing is known of the instances of a service: a list without them
// would be taken for complete.
func isKnown(s services.ServiceState) error {
	switch {
	case s.Unknown != nil:
		return fmt.Errorf("service %q in %v: %w: %w", s.Name, s.Mount, discovery.ErrUnread, s.Unknown)
	case len(s.Members) == 0 && s.Unreadable > 0:
		return fmt.Errorf("service %q in %v: %w: none of its %d records can be read; /admin/problems says why", s.Name, s.Mount, discovery.ErrUnread, s.Unreadable)
	}
	return nil
}

// targetLabels appends labels to the JSON object of a target.
type targetLabels struct{ dst []byte }

// put appends a label.
func (l *targetLabels) put(name, value string) {
	if l.dst[len(l.dst)-1] != '{' {
		l.dst = append(l.dst, ',')
	}
	l.dst = appendString(append(appendString(l.dst, name), ':'), value)
}

// appendTarget appends an instance as a target of its own. The labels that begin with
// __meta_serverset_ and __meta_nerve_ are those of Prometheus' own discoveries of these layouts
// (discovery/zookeeper/zookeeper.go), so that its configurations and dashboards go on working.
func appendTarget(dst []byte, s *services.Service, m *services.Member) []byte {
	main := m.Main()
	l := targetLabels{append(appendString(append(dst, `{"targets":[`...), string(appendHostPort(nil, main))), `],"labels":{`...)}
	port := func(e services.Endpoint) string { return strconv.Itoa(int(e.Port)) }
	const meta = "__meta_magellan_"
	l.put(meta+"mount", s.Mount.Path)
	l.put(meta+"layout", s.Mount.Layout.Name)
	l.put(meta+"service", s.Name)
	l.put(meta+"id", m.ID)
	l.put(meta+"znode", s.Znode(m))
	l.put(meta+"address", main.Host)
	l.put(meta+"port", port(main))
	l.put(meta+"tls", strconv.FormatBool(main.TLS))
	l.put(meta+"status", m.Status.String())
	if m.Weighted {
		l.put(meta+"weight", string(appendFloat(nil, m.Weight)))
	}
	if m.Zone != "" {
		l.put(meta+"zone", m.Zone)
	}
	if len(m.Tags) > 0 {
		l.put(meta+"tags", ","+strings.Join(m.Tags, ",")+",")
	}
	taken := map[string]bool{} // two names may be the same once their characters are replaced
	unique := func(name, value string) {
		if !taken[name] {
			taken[name] = true
			l.put(name, value)
		}
	}
	for _, e := range m.Endpoints[1:] {
		if e.Name != "" {
			unique(meta+"endpoint_host_"+labelPart(e.Name), e.Host)
			unique(meta+"endpoint_port_"+labelPart(e.Name), port(e))
		}
	}
	for _, pair := range m.Metadata {
		unique(meta+"metadata_"+labelPart(pair.Key), pair.Value)
	}
	switch s.Mount.Layout.Name {
	case "serverset":
		const meta = "__meta_serverset_"
		shard, known := m.Meta("shard")
		if !known {
			shard = "0"
		}
		l.put(meta+"path", s.Znode(m))
		l.put(meta+"status", m.Word)
		l.put(meta+"shard", shard)
		l.put(meta+"endpoint_host", main.Host)
		l.put(meta+"endpoint_port", port(main))
		for _, e := range m.Endpoints[1:] {
			unique(meta+"endpoint_host_"+labelPart(e.Name), e.Host)
			unique(meta+"endpoint_port_"+labelPart(e.Name), port(e))
		}
	case "nerve":
		const meta = "__meta_nerve_"
		name, _ := m.Meta("name")
		l.put(meta+"path", s.Znode(m))
		l.put(meta+"endpoint_host", main.Host)
		l.put(meta+"endpoint_port", port(main))
		l.put(meta+"endpoint_name", name)
	}
	return append(l.dst, "}}"...)
}

// labelPart makes a part of a label's name: each character that Prometheus does not allow there
// becomes an underscore.
func labelPart(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, s)
}

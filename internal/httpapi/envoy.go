package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// This file answers Envoy's endpoint discovery (EDS) over REST. See
// https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol and
// envoy/config/endpoint/v3/endpoint.proto.

// typeAssignment is the type of what Envoy asks for.
const typeAssignment = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

// maxDiscoveryRequest bounds a request's body, in bytes. Envoy describes itself in it.
const maxDiscoveryRequest = 1 << 20

// discoveryRequest is envoy.service.discovery.v3.DiscoveryRequest as far as it matters here. JSON of
// protobuf has each name in two spellings.
type discoveryRequest struct {
	Version  string   `json:"version_info"`
	Version2 string   `json:"versionInfo"`
	Names    []string `json:"resource_names"`
	Names2   []string `json:"resourceNames"`
	Type     string   `json:"type_url"`
	Type2    string   `json:"typeUrl"`
}

// readDiscovery reads the body of a question.
func readDiscovery(q *question) (*discoveryRequest, error) {
	var body bytes.Buffer
	if err := q.body.readBody(&body, maxDiscoveryRequest); err != nil {
		return nil, err
	}
	var r discoveryRequest
	if err := json.Unmarshal(body.Bytes(), &r); err != nil {
		return nil, badRequest("the body is no DiscoveryRequest: " + err.Error())
	}
	r.Version, r.Type, r.Names = cmp.Or(r.Version, r.Version2), cmp.Or(r.Type, r.Type2), once(append(r.Names, r.Names2...))
	switch {
	case r.Type != "" && r.Type != typeAssignment:
		return nil, badRequest(fmt.Sprintf("type_url is %q, and here is only %s", r.Type, typeAssignment))
	case len(r.Names) == 0:
		return nil, badRequest("resource_names is empty: want the names of services")
	case len(r.Names) > maxLookupServices:
		return nil, &requestError{kindBodyTooLarge, fmt.Sprintf("resource_names has more than %d elements; ask in several requests", maxLookupServices)}
	}
	return &r, nil
}

// once returns the names without repetitions.
func once(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

// postEndpoints answers POST /v3/discovery:endpoints. Envoy keeps the hosts that it has if the answer
// is an error, and drops those that are not in a good answer. So an assignment without endpoints is
// only sent for a service that has no instances, or does not exist.
func (s *Server) postEndpoints(q *question, a *answer) error {
	r, err := readDiscovery(q)
	if err != nil {
		return err
	}
	results, meta, err := s.services.Lookup(q.ctx, r.Names, "", q.read)
	a.rest(discovery.Basis{Meta: meta})
	if err != nil {
		return err
	}
	resources := append(a.buf[:0], '[')
	for i := range results {
		if err := results[i].Err; err != nil && !errors.Is(err, discovery.ErrNotFound) {
			return err
		}
		if i > 0 {
			resources = append(resources, ',')
		}
		if resources, err = appendAssignment(resources, r.Names[i], results[i].Answer); err != nil {
			return err
		}
	}
	resources = append(resources, ']')
	// Transactions say nothing about what is left out because it is too old, so the version has
	// the hash of all resources too.
	version := fmt.Sprintf("%#x-%016x", meta.Zxid, hashOf(resources))
	dst := appendString([]byte(`{"version_info":`), version)
	dst = append(append(dst, `,"resources":`...), resources...)
	dst = appendString(append(dst, `,"type_url":`...), typeAssignment)
	a.buf = resources
	a.lend(contentJSON, append(dst, "}\n"...), nil)
	a.has = r.Version == version
	return nil
}

// envoyHealth is how Envoy is told an instance's status. Envoy takes UNKNOWN for healthy.
func envoyHealth(s services.Status) string {
	switch s {
	case services.Up:
		return "HEALTHY"
	case services.OutOfService:
		return "DRAINING"
	default:
		return "UNHEALTHY"
	}
}

// envoyTakes reports whether Envoy takes an endpoint: only an address with a port. It refuses a whole
// answer for a host's name.
func envoyTakes(e services.Endpoint) bool {
	addr, err := netip.ParseAddr(e.Host)
	return err == nil && addr.Zone() == "" && e.Port != 0
}

// appendAssignment appends a ClusterLoadAssignment. Envoy wants each locality once. It returns an
// error if the service has instances and Envoy takes none of them.
func appendAssignment(dst []byte, name string, found services.Answer) ([]byte, error) {
	var all []*services.Member
	left := ""
	for of := range found.All {
		for i := range of.Members {
			if m := &of.Members[i]; envoyTakes(m.Main()) {
				all = append(all, m)
			} else {
				left = string(appendHostPort(nil, m.Main()))
			}
		}
	}
	if len(all) == 0 && left != "" {
		return dst, fmt.Errorf("service %q: %w: Envoy's endpoints are addresses with ports, and no instance has both, such as that at %s", name, discovery.ErrBadData, left)
	}
	slices.SortStableFunc(all, func(a, b *services.Member) int { return strings.Compare(a.Zone, b.Zone) })
	dst = appendString(append(dst, `{"@type":"`+typeAssignment+`","cluster_name":`...), name)
	dst = append(dst, `,"endpoints":[`...)
	for i, m := range all {
		switch {
		case i > 0 && all[i-1].Zone == m.Zone:
			dst = append(dst, ',')
		case i > 0:
			dst = append(dst, `]},`...)
			fallthrough
		default:
			dst = append(dst, '{')
			if m.Zone != "" {
				dst = append(appendString(append(dst, `"locality":{"zone":`...), m.Zone), `},`...)
			}
			dst = append(dst, `"lb_endpoints":[`...)
		}
		dst = appendEndpoint(dst, m)
	}
	if len(all) > 0 {
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...), nil
}

// appendEndpoint appends an LbEndpoint. Its metadata are those by which Envoy makes subsets.
func appendEndpoint(dst []byte, m *services.Member) []byte {
	main := m.Main()
	dst = appendString(append(dst, `{"endpoint":{"address":{"socket_address":{"address":`...), main.Host)
	dst = strconv.AppendUint(append(dst, `,"port_value":`...), uint64(main.Port), 10)
	health := envoyHealth(m.Status)
	if m.Weighted {
		// Envoy has no weight below 1.
		weight := wholeWeight(m.Instance)
		if weight == 0 && m.Status == services.Up {
			health = envoyHealth(services.OutOfService)
		}
		dst = strconv.AppendInt(append(dst, `}}},"load_balancing_weight":`...), int64(max(weight, 1)), 10)
	} else {
		dst = append(dst, "}}}"...)
	}
	dst = appendString(append(dst, `,"health_status":`...), health)
	if len(m.Metadata) > 0 {
		dst = appendPairs(append(dst, `,"metadata":{"filter_metadata":{"envoy.lb":`...), m.Metadata)
		dst = append(dst, "}}"...)
	}
	return append(dst, '}')
}

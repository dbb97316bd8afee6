package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// getServices answers GET /v1/services.
func (s *Server) getServices(q *question, a *answer) error {
	mount, err := q.single("mount")
	if err != nil {
		return err
	}
	mounts, basis, err := s.services.Services(q.ctx, mount, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	dst := append(a.buf[:0], `{"services":[`...)
	comma := false
	for i := range mounts {
		for _, one := range mounts[i].Services {
			if comma {
				dst = append(dst, ',')
			}
			comma = true
			dst = appendServiceCounts(dst, one)
		}
	}
	dst = append(dst, `],"mounts":[`...)
	for i := range mounts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMount(dst, &mounts[i])
	}
	a.compose(contentJSON, append(dst, "]}\n"...))
	return nil
}

// appendServiceCounts appends a service without its instances.
func appendServiceCounts(dst []byte, s services.ServiceState) []byte {
	dst = appendString(append(dst, `{"service":`...), s.Name)
	dst = appendString(append(dst, `,"mount":`...), s.Mount.Path)
	dst = appendString(append(dst, `,"layout":`...), s.Mount.Layout.Name)
	if s.Unknown != nil {
		return append(appendString(append(dst, `,"unknown":`...), s.Unknown.Error()), '}')
	}
	dst = strconv.AppendInt(append(dst, `,"instances":`...), int64(len(s.Members)), 10)
	dst = strconv.AppendInt(append(dst, `,"up":`...), int64(s.Up), 10)
	return append(appendUnreadable(dst, s.Unreadable), '}')
}

// appendUnreadable appends how many records are missing, if any are.
func appendUnreadable(dst []byte, n int) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, `,"unreadable":`...), int64(n), 10)
}

func appendMount(dst []byte, m *services.MountAnswer) []byte {
	instances := 0
	for _, s := range m.Services {
		instances += len(s.Members)
	}
	dst = appendString(append(dst, `{"mount":`...), m.Path)
	dst = appendString(append(dst, `,"layout":`...), m.Layout.Name)
	dst = strconv.AppendBool(append(dst, `,"exists":`...), m.Exists)
	dst = strconv.AppendInt(append(dst, `,"services":`...), int64(len(m.Services)), 10)
	dst = strconv.AppendInt(append(dst, `,"instances":`...), int64(instances), 10)
	return append(dst, '}')
}

// getService answers GET /v1/services/{service}.
//
// The body of a service that is in one mount is kept with the service, so that the usual request
// allocates nothing.
func (s *Server) getService(q *question, a *answer) error {
	mount, filter, err := instanceQuery(q)
	if err != nil {
		return err
	}
	format, err := serviceFormatNamed(q)
	if err != nil {
		return err
	}
	found, basis, err := s.services.Service(q.ctx, q.name, mount, q.read)
	a.rest(basis)
	if errors.Is(err, discovery.ErrNotFound) {
		return fmt.Errorf("service %q: %w", q.name, discovery.ErrNotFound)
	} else if err != nil {
		return err
	}
	if format != nil {
		format.compose(a, found, filter)
		return nil
	}
	if filter == nil && len(found.More) == 0 {
		kept := found.First.Memo(func() any {
			return newRendering(append(appendService([]byte{'{'}, found, nil), "}\n"...), &s.memoWork)
		}).(*rendering)
		a.share(contentJSON, kept.hash, kept)
		return nil
	}
	a.compose(contentJSON, append(appendService(append(a.buf[:0], '{'), found, filter), "}\n"...))
	return nil
}

// instanceFilter says which instances a client wants.
type instanceFilter struct {
	tags     []string // an instance must have all of them
	statuses []services.Status
	zones    []string
}

// instanceQuery reads what a query says about the instances that a client wants. filter is nil if
// it wants all.
func instanceQuery(q *question) (mount string, filter *instanceFilter, err error) {
	if q.query == nil {
		return "", nil, nil
	}
	if mount, err = q.single("mount"); err != nil {
		return "", nil, err
	}
	f := instanceFilter{tags: q.query["tag"], zones: q.query["zone"]}
	for _, word := range q.query["status"] {
		status, ok := services.ParseStatus(word)
		if !ok {
			return "", nil, badRequest(fmt.Sprintf("there is no status %q: want UP, STARTING, OUT_OF_SERVICE, DOWN or UNKNOWN", word))
		}
		f.statuses = append(f.statuses, status)
	}
	if f.tags == nil && f.zones == nil && f.statuses == nil {
		return mount, nil, nil
	}
	return mount, &f, nil
}

// hasStatuses reports whether the client has asked for statuses.
func (f *instanceFilter) hasStatuses() bool { return f != nil && f.statuses != nil }

// takes reports whether the client wants an instance. A nil filter takes all.
func (f *instanceFilter) takes(i *services.Instance) bool {
	if f == nil {
		return true
	}
	for _, tag := range f.tags {
		if !slices.Contains(i.Tags, tag) {
			return false
		}
	}
	return (f.statuses == nil || slices.Contains(f.statuses, i.Status)) && (f.zones == nil || slices.Contains(f.zones, i.Zone))
}

// appendService appends the members of a service's answer, without the braces.
func appendService(dst []byte, found services.Answer, filter *instanceFilter) []byte {
	dst = appendString(append(dst, `"service":`...), found.First.Name)
	unreadable := 0
	dst = append(dst, `,"instances":[`...)
	comma := false
	for s := range found.All {
		unreadable += s.Unreadable
		for i := range s.Members {
			m := &s.Members[i]
			if !filter.takes(m.Instance) {
				continue
			}
			if comma {
				dst = append(dst, ',')
			}
			comma = true
			dst = appendMember(dst, s, m)
		}
	}
	return appendUnreadable(append(dst, ']'), unreadable)
}

func appendMember(dst []byte, s *services.Service, m *services.Member) []byte {
	dst = appendString(append(dst, `{"id":`...), m.ID)
	dst = appendAddress(append(dst, ','), m.Main())
	dst = appendString(append(dst, `,"status":`...), m.Status.String())
	if m.Weighted {
		dst = appendFloat(append(dst, `,"weight":`...), m.Weight)
	}
	if m.Zone != "" {
		dst = appendString(append(dst, `,"zone":`...), m.Zone)
	}
	dst = append(dst, `,"endpoints":[`...)
	for i, e := range m.Endpoints {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"name":`...), e.Name)
		dst = append(appendAddress(append(dst, ','), e), '}')
	}
	dst = appendStrings(append(dst, `],"tags":`...), m.Tags)
	dst = appendPairs(append(dst, `,"metadata":`...), m.Metadata)
	dst = appendString(append(dst, `,"mount":`...), s.Mount.Path)
	return append(appendString(append(dst, `,"znode":`...), s.Znode(m)), '}')
}

// appendStrings appends an array.
func appendStrings(dst []byte, all []string) []byte {
	dst = append(dst, '[')
	for i, one := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, one)
	}
	return append(dst, ']')
}

// appendPairs appends an object.
func appendPairs(dst []byte, all []services.Pair) []byte {
	dst = append(dst, '{')
	for i, pair := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(appendString(dst, pair.Key), ':'), pair.Value)
	}
	return append(dst, '}')
}

// appendAddress appends where an endpoint is. The port is null if the record names none.
func appendAddress(dst []byte, e services.Endpoint) []byte {
	dst = appendString(append(dst, `"address":`...), e.Host)
	if e.Port == 0 {
		dst = append(dst, `,"port":null`...)
	} else {
		dst = strconv.AppendUint(append(dst, `,"port":`...), uint64(e.Port), 10)
	}
	return strconv.AppendBool(append(dst, `,"tls":`...), e.TLS)
}

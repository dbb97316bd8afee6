package services

import (
	"fmt"
	"slices"
	"strings"

	"magellan/internal/discovery"
)

// The kinds of topics.
const (
	// topicService is the kind of the topic of one service, in whichever mount it is.
	topicService = "service"
	// topicServices is the kind of the topic of which services there are, and of how many
	// instances they have.
	topicServices = "services"
	// topicInstances is the kind of the topic of all instances of all services.
	topicInstances = "instances"
)

// ServiceTopic is published when a service has changed, in any mount.
func ServiceTopic(name string) discovery.Topic {
	return discovery.Topic{Kind: topicService, Name: name}
}

// ServicesTopic is published when there are other services, or when a service has another number
// of instances, or other tags.
func ServicesTopic() discovery.Topic { return discovery.Topic{Kind: topicServices} }

// InstancesTopic is published when any instance of any service has changed.
func InstancesTopic() discovery.Topic { return discovery.Topic{Kind: topicInstances} }

// Service is what is known of the instances of one service in one mount. It is never changed,
// because all who ask share it.
type Service struct {
	discovery.Memoized
	Name  string
	Mount *Mount
	// Members are the instances, ordered by the names of their znodes, and those of one
	// znode in the order of its record.
	Members []Member
	// Up is how many of them are [Up].
	Up int
	// Unreadable is how many records there are besides that cannot be served: they do not
	// parse, or may not be read.
	Unreadable int
	// Tags are the tags that any of the members has, each once, in order.
	Tags []string

	dir  string
	zxid int64
	// version is another one for each value of the directory that says something else. No two
	// directories of a mount have the same.
	version uint64
	// is: the directory is a service. It is none if it only has directories in it.
	is bool
	// unread is how many records exist that could never be read, and absent says that the
	// directory itself does not exist.
	unread int
	absent bool
	doubts discovery.Doubts
}

// Member is one instance of a service, and where it was read.
type Member struct {
	*Instance
	// Znode is the last element of the znode's path; [Service.Znode] has all of it.
	Znode string
}

// Zxid returns the newest transaction that has changed an instance, or which there are.
func (s *Service) Zxid() int64 { return s.zxid }

// Znode returns the path of the znode that a member was read from.
func (s *Service) Znode(m *Member) string { return s.Mount.Znode(s.dir, m.Znode) }

// UniqueID returns an ID that no instance of another service has. It is the member's own, unless
// its layout has the same IDs in several services.
func (s *Service) UniqueID(m *Member) string {
	if s.Mount.Layout.UniqueIDs {
		return m.ID
	}
	return s.Name + "/" + m.ID
}

// record is a decoded znode.
type record struct {
	name string
	Record
}

// Tree describes the mount's znodes.
func (m *Mount) Tree() discovery.Tree[*record, Service] {
	return discovery.Tree[*record, Service]{
		Name: m.String(), Path: m.dir, MaxDepth: MaxDepth, MaxDirectories: MaxDirectories,
		Inside: m.inside,
		Decode: func(dir, name string, data []byte, _ discovery.Stat) (*record, error) {
			name = strings.Clone(name) // it may be a piece of a long list, and the record keeps pieces of it
			r, err := m.Layout.Decode(Znode{Dir: dir, Name: name, Data: data})
			if err != nil {
				return nil, fmt.Errorf("%w: %w", discovery.ErrBadData, err)
			}
			return &record{name, r}, nil
		},
		Build: func(dir string, all discovery.Members[*record], was *Service) *Service {
			s := m.build(dir, all)
			if was != nil && was.same(s) {
				s.version = was.version
			} else {
				s.version = m.versions.Add(1)
			}
			return s
		},
		Zxid:    (*Service).Zxid,
		Changes: m.changes,
	}
}

func (m *Mount) build(dir string, all discovery.Members[*record]) *Service {
	s := &Service{Name: m.serviceIn(dir), Mount: m, dir: dir, zxid: all.Zxid, absent: all.Absent, doubts: all.Doubts}
	for _, d := range all.Doubts.All() {
		if !d.Held && !d.Accepted {
			s.unread++ // it may be a record, or a directory with records in it
		}
	}
	switch inside := m.inside(dir); {
	case all.Absent, inside == Directories, s.Name == "":
	case inside == Mixed:
		s.is = len(all.Values)+s.unread > 0 || all.Directories == 0 && dir != ""
	default:
		s.is = true
	}
	slices.SortFunc(all.Values, func(a, b *record) int { return strings.Compare(a.name, b.name) })
	if m.Layout.Combine != nil {
		s.Members = m.combined(all.Values)
	} else {
		s.Members = make([]Member, 0, len(all.Values))
		for _, r := range all.Values {
			for i := range r.Instances {
				s.Members = append(s.Members, Member{&r.Instances[i], r.name})
			}
		}
	}
	s.count()
	return s
}

// count fills in what is known from the members.
func (s *Service) count() {
	for i := range s.Members {
		if s.Members[i].Status == Up {
			s.Up++
		}
		s.Tags = append(s.Tags, s.Members[i].Tags...)
	}
	slices.Sort(s.Tags)
	s.Tags = slices.Clip(slices.Compact(s.Tags))
}

// combined are the members of a layout in which one record changes what others mean. Combine
// returns the instances in the order of the records.
func (m *Mount) combined(records []*record) []Member {
	all := make([]Record, len(records))
	znodes := map[string]string{} // by the ID of an instance
	for i, r := range records {
		all[i] = r.Record
		for j := range r.Instances {
			znodes[r.Instances[j].ID] = r.name
		}
	}
	instances := m.Layout.Combine(all)
	members := make([]Member, len(instances))
	for i := range instances {
		members[i] = Member{&instances[i], znodes[instances[i].ID]}
	}
	return members
}

// changes returns the topics of a change. Either value may be nil.
func (m *Mount) changes(dir string, was, is *Service) (topics []discovery.Topic) {
	if was != nil && is != nil && was.same(is) {
		return nil
	}
	topics = append(topics, InstancesTopic())
	if name := m.serviceIn(dir); name != "" { // otherwise the directory is of no service
		topics = append(topics, ServiceTopic(name))
	}
	if was == nil || is == nil || !was.counts(is) {
		topics = append(topics, ServicesTopic())
	}
	return topics
}

// counts reports whether two values of one directory are alike in a list of services.
func (s *Service) counts(o *Service) bool {
	return s.is == o.is && s.absent == o.absent && s.unread == o.unread && len(s.Members) == len(o.Members) && s.Up == o.Up &&
		slices.Equal(s.Tags, o.Tags) && s.doubts.Same(o.doubts)
}

// same reports whether two values of one directory say the same. The transaction alone does not
// tell: the list of records may be newer than a record that is read after it.
func (s *Service) same(o *Service) bool {
	return s.is == o.is && s.absent == o.absent && s.doubts.Same(o.doubts) && slices.EqualFunc(s.Members, o.Members, func(a, b Member) bool {
		return a.Znode == b.Znode && a.equal(b.Instance)
	})
}

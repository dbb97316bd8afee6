package services

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
)

// Mounted is a mount with the reader of its mirror.
type Mounted struct {
	*Mount
	Reader discovery.TreeReader[Service]
}

// Registry answers which services there are, and which instances they have. It needs no Close, and
// is safe for concurrent use.
//
// Methods return the [discovery.Basis] of their answer, with an error as well. An error wraps one
// of the kinds of package discovery, or is ctx's.
type Registry struct {
	mounts  []Mounted
	watcher discovery.Watcher
	bound   discovery.Bound
	told    indexes
}

// Config is what a [Registry] is made of.
type Config struct {
	// Mounts are what is answered for. At least one is required.
	Mounts []Mounted
	// Watcher notifies of changes. It is required.
	Watcher discovery.Watcher
	// MaxStale is the greatest age that an answer may have. In place of an older one methods
	// return [discovery.ErrTooOld]. 0 means no bound.
	MaxStale time.Duration
}

// New returns a Registry, or an error that says what is wrong with cfg.
func New(cfg Config) (*Registry, error) {
	switch {
	case len(cfg.Mounts) == 0:
		return nil, errors.New("services: Config.Mounts is empty")
	case cfg.Watcher == nil:
		return nil, errors.New("services: Config.Watcher is nil")
	case cfg.MaxStale < 0:
		return nil, fmt.Errorf("services: Config.MaxStale is %v, and must be positive, or 0 for no bound", cfg.MaxStale)
	}
	return &Registry{mounts: slices.Clone(cfg.Mounts), watcher: cfg.Watcher, bound: discovery.Bound(cfg.MaxStale)}, nil
}

var _ discovery.Watcher = (*Registry)(nil)

// Watch implements [discovery.Watcher].
func (r *Registry) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return r.watcher.Watch(t, o)
}

// ErrNoMount is a [discovery.ErrInvalidRequest]: a request names a mount that there is not.
var ErrNoMount = fmt.Errorf("%w: there is no such mount", discovery.ErrInvalidRequest)

// Answer is what is known of one service, in each mount that has it.
type Answer struct {
	// First is the service in the first mount that has it, in the operator's order.
	First *Service
	// More are the services of that name in further mounts; mostly there are none.
	More []*Service
}

// All calls yield for the service in each mount.
func (a Answer) All(yield func(*Service) bool) {
	if a.First == nil || !yield(a.First) {
		return
	}
	for _, s := range a.More {
		if !yield(s) {
			return
		}
	}
}

// Len returns the number of instances.
func (a Answer) Len() (n int) {
	for s := range a.All {
		n += len(s.Members)
	}
	return n
}

// Service returns the instances of a service: those in the given mount, which is its path or
// LAYOUT:PATH, or those in all mounts if mount is "". [discovery.ErrNotFound] says that none of
// these mounts has the service.
//
// The instances are complete, except for records that could never be read and those whose last
// good value is too old. If nothing is left because of such records, Service returns
// [discovery.ErrUnread]: that there is no instance would be a guess. If one of several mounts
// cannot be answered for, there is no answer. Service allocates nothing for a service that is in
// memory, in one mount, and without doubts.
func (r *Registry) Service(ctx context.Context, name, mount string, opt discovery.ReadOptions) (answer Answer, basis discovery.Basis, err error) {
	basis.Depends = discovery.DependsOn(ServiceTopic(name))
	if err := ValidateName(name); err != nil {
		return answer, basis, err
	}
	asked := false
	var absent discovery.Meta
	for i := range r.mounts {
		m := &r.mounts[i]
		if !m.named(mount) {
			continue
		}
		asked = true
		s, meta, err := r.find(ctx, m, name, opt)
		switch {
		case errors.Is(err, discovery.ErrNotFound):
			absent = absent.Join(meta)
			continue
		case err != nil:
			basis.Meta = basis.Join(meta)
			return Answer{}, basis, fmt.Errorf("service %q in %v: %w", name, m.Mount, err)
		}
		basis.Meta = basis.Join(meta)
		if answer.First == nil {
			answer.First = s
		} else {
			answer.More = append(answer.More, s)
		}
	}
	basis.Meta = basis.Join(absent)
	switch {
	case !asked:
		return answer, basis, fmt.Errorf("%w: %q; GET /v1/services lists those that there are", ErrNoMount, mount)
	case answer.First == nil:
		basis.Zxid = 0
		return answer, basis, discovery.ErrNotFound
	}
	return answer, basis, nil
}

// named reports whether a request for a mount is for this one.
func (m *Mounted) named(mount string) bool {
	if len(mount) > 1 {
		mount = strings.TrimSuffix(mount, "/")
	}
	return mount == "" || mount == m.Path || len(mount) > len(m.Path) && mount == m.String()
}

// find returns a service of a mount.
func (r *Registry) find(ctx context.Context, m *Mounted, name string, opt discovery.ReadOptions) (*Service, discovery.Meta, error) {
	if name == m.own {
		if s, meta, err := r.read(ctx, m, "", opt); err != nil && !errors.Is(err, discovery.ErrNotFound) || err == nil {
			return s, meta, err
		}
	}
	return r.read(ctx, m, m.dirOf(name), opt)
}

// read returns the service in a directory.
func (r *Registry) read(ctx context.Context, m *Mounted, dir string, opt discovery.ReadOptions) (*Service, discovery.Meta, error) {
	if opt == (discovery.ReadOptions{}) { // mostly
		return r.readNow(ctx, m, dir, opt)
	}
	return discovery.Within(opt, func(opt discovery.ReadOptions) (*Service, discovery.Meta, error) { return r.readNow(ctx, m, dir, opt) })
}

func (r *Registry) readNow(ctx context.Context, m *Mounted, dir string, opt discovery.ReadOptions) (*Service, discovery.Meta, error) {
	s, meta, err := m.Reader.Get(ctx, dir, opt)
	if err = r.bound.Check(meta, err); err != nil {
		return nil, meta, err
	}
	if s.doubts.Whole() != nil {
		known, why, err := r.doubted(&s, opt)
		meta = meta.Join(known)
		if err == nil && len(s.Members) == 0 {
			err = why
		}
		if err != nil {
			return nil, meta, err
		}
	}
	if !s.is {
		return nil, meta, discovery.ErrNotFound
	}
	return s, meta, nil
}

// doubted replaces a service about which there are doubts by what may be served of it, without
// the records that may not be served; why says what is wrong with one of these. err says that it
// is not even known which records there are.
func (r *Registry) doubted(of **Service, opt discovery.ReadOptions) (meta discovery.Meta, why, err error) {
	s := *of
	if d := s.doubts.About("", false); d != nil {
		if meta, err = r.bound.Allow(d, opt); err != nil {
			return meta, nil, err
		}
	}
	if !s.is {
		return meta, nil, nil
	}
	left := map[string]bool{} // the znodes whose values may not be served
	for name, d := range s.doubts.All() {
		if d.Accepted {
			continue
		}
		known, err := r.bound.Allow(d, opt)
		if err != nil && d.Gone {
			// Clients should rather keep the answer that they have than one which is
			// shorter because of what may have been an accident.
			return meta, nil, err
		}
		if err != nil {
			left[name], why = true, err
			continue
		}
		meta = meta.Join(known)
	}
	if len(left) == 0 {
		return meta, nil, nil
	}
	some := &Service{Name: s.Name, Mount: s.Mount, Unreadable: len(left), dir: s.dir, zxid: s.zxid, version: s.version, is: s.is}
	for _, m := range s.Members {
		if left[m.Znode] {
			continue
		}
		some.Members = append(some.Members, m)
	}
	some.count()
	*of = some
	return meta, why, nil
}

// MountAnswer is what is known of one mount as a whole.
type MountAnswer struct {
	*Mount
	// Exists: the znode that is mirrored exists.
	Exists bool
	// Services are ordered by name.
	Services []ServiceState

	// print stands for what each service says.
	print uint64
}

// ServiceState is a service among others.
type ServiceState struct {
	*Service
	// Unknown is nil, or says why it is not known which instances the service has, or which
	// services there are in its directory. Then the Service has its name only.
	Unknown error
}

// Services returns all services of the given mount, as for [Registry.Service], or those of all
// mounts if mount is "". A service of which it is not known which instances it has is among them, and
// says so. If nothing is known of a mount, Services returns an error, because the list would be taken
// for complete.
func (r *Registry) Services(ctx context.Context, mount string, opt discovery.ReadOptions) (all []MountAnswer, basis discovery.Basis, err error) {
	basis.Depends = discovery.DependsOn(ServicesTopic())
	for i := range r.mounts {
		m := &r.mounts[i]
		if !m.named(mount) {
			continue
		}
		one, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (MountAnswer, discovery.Meta, error) { return r.all(ctx, m, opt) })
		basis.Meta = basis.Join(meta)
		if err != nil {
			return nil, basis, fmt.Errorf("the services in %v: %w", m.Mount, err)
		}
		all = append(all, one)
	}
	if all == nil {
		return nil, basis, fmt.Errorf("%w: %q; GET /v1/services lists those that there are", ErrNoMount, mount)
	}
	return all, basis, nil
}

// unknown returns why it is not known which instances a service has. Unlike err it does not have the
// age of anything in it, so that a list has other bytes only if it says something else.
func unknown(s *Service, err error) error {
	switch d := s.doubts.About("", false); {
	case errors.Is(err, discovery.ErrTooOld):
		return errors.New("what is held is too old to be given; /admin/problems says why")
	case d != nil:
		return errors.New(d.Reason)
	default:
		return err
	}
}

func (r *Registry) all(ctx context.Context, m *Mounted, opt discovery.ReadOptions) (MountAnswer, discovery.Meta, error) {
	answer := MountAnswer{Mount: m.Mount}
	dirs, meta, err := m.Reader.All(ctx, opt)
	if err = r.bound.Check(meta, err); err != nil {
		return answer, meta, err
	}
	print := xxhash.New()
	for _, dir := range dirs {
		s := dir.Value
		answer.Exists = answer.Exists || dir.Dir == "" && !s.absent
		meta.Zxid = max(meta.Zxid, s.zxid)
		if s.doubts.Whole() != nil {
			known, _, err := r.doubted(&s, opt)
			meta = meta.Join(known)
			switch {
			case err != nil && dir.Dir == "":
				return answer, meta, err
			case err != nil:
				name := s.Name
				if name == "" {
					name = dir.Dir
				}
				answer.Services = append(answer.Services, ServiceState{&Service{Name: name, Mount: m.Mount, dir: dir.Dir}, unknown(s, err)})
				continue
			}
		}
		if s.is {
			addPrint(print, s.version)
			addPrint(print, uint64(s.Unreadable))
			answer.Services = append(answer.Services, ServiceState{Service: s})
		}
	}
	answer.print = print.Sum64()
	slices.SortFunc(answer.Services, func(a, b ServiceState) int { return strings.Compare(a.Name, b.Name) })
	return answer, meta, nil
}

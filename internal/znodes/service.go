package znodes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"magellan/internal/discovery"
)

// Config configures a [Service].
type Config struct {
	// Shown are the subtrees that clients may read. At least one is required.
	Shown Subtrees
	// Bytes and Children read what [Bytes] and [Children] describe. Both are required.
	Bytes    discovery.KeyedReader[Data]
	Children discovery.KeyedReader[List]
	// Watcher notifies of changes of the two. It is required.
	Watcher discovery.Watcher
	// MaxStale is the greatest age of an answer. 0 is no bound.
	MaxStale discovery.Bound
}

// Service answers about znodes. Use [New].
type Service struct {
	discovery.Watcher
	cfg Config
}

// New returns a Service.
func New(cfg Config) (*Service, error) {
	if len(cfg.Shown) == 0 || cfg.Bytes == nil || cfg.Children == nil || cfg.Watcher == nil {
		return nil, errors.New("znodes: a field of Config that is required is not set")
	}
	return &Service{cfg.Watcher, cfg}, nil
}

// Znode is a znode with its children.
type Znode struct {
	*Data
	*List
}

// Check returns an error if no client may ask for the path: [discovery.ErrInvalidName] or
// [discovery.ErrForbidden]. The error is the same whether or not there is such a znode.
func (s *Service) Check(path string) error {
	if err := discovery.ValidatePath(path); err != nil {
		return err
	}
	if !s.cfg.Shown.Have(path) {
		return fmt.Errorf("%w: this server shows no znode at %s, only %s and what is below: see --znodes", discovery.ErrForbidden, path, strings.Join(s.cfg.Shown, ", "))
	}
	return nil
}

// Data returns what a znode holds. Errors are those of [Service.Check] and of
// [discovery.KeyedReader]; if ZooKeeper does not let magellan read the znode, the error is
// [discovery.ErrForbidden].
func (s *Service) Data(ctx context.Context, path string, opt discovery.ReadOptions) (*Data, discovery.Basis, error) {
	if err := s.Check(path); err != nil {
		return nil, discovery.Basis{}, err
	}
	data, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (*Data, discovery.Meta, error) {
		data, meta, err := s.cfg.Bytes.Get(ctx, path, opt)
		return data, meta, s.cfg.MaxStale.Check(meta, err)
	})
	return data, discovery.Basis{Meta: meta, Depends: discovery.DependsOn(bytesTopic(path))}, explain(path, err)
}

// maxTries is how often Znode reads a znode that changes while it is read.
const maxTries = 4

// Znode returns a znode with its children. Errors are as of [Service.Data].
//
// Bytes and children are read one after the other, so that they may be of different moments, both
// within the age that the answer has. They are always those of one znode: if it was deleted and
// created between the two reads, Znode reads again.
func (s *Service) Znode(ctx context.Context, path string, opt discovery.ReadOptions) (Znode, discovery.Basis, error) {
	if err := s.Check(path); err != nil {
		return Znode{}, discovery.Basis{}, err
	}
	both := discovery.DependsOn(bytesTopic(path), discovery.Topic{Kind: childrenKind, Name: path})
	znode, meta, err := discovery.Within(opt, func(opt discovery.ReadOptions) (Znode, discovery.Meta, error) {
		znode, meta, err := s.read(ctx, path, opt)
		return znode, meta, s.cfg.MaxStale.Check(meta, err)
	})
	return znode, discovery.Basis{Meta: meta, Depends: both}, explain(path, err)
}

// read reads a znode's bytes and then its children.
func (s *Service) read(ctx context.Context, path string, opt discovery.ReadOptions) (Znode, discovery.Meta, error) {
	failed := fmt.Errorf("%w: it changes faster than it can be read", discovery.ErrUnavailable)
	for range maxTries {
		data, meta, err := s.cfg.Bytes.Get(ctx, path, opt)
		if err != nil {
			return Znode{}, meta, err // that there is no znode is known as well as meta says
		}
		list, of, err := s.cfg.Children.Get(ctx, path, opt)
		switch {
		case err == nil && list.Czxid == data.Czxid && list.Pzxid >= data.Pzxid:
			return Znode{data, list}, meta.Join(of), nil
		case err == nil && meta.Join(of).Cache == discovery.Stale && !opt.Fresh && list.Czxid == data.Czxid:
			return Znode{data, list}, meta.Join(of), nil // ZooKeeper is away, and there is nothing newer
		case errors.Is(err, discovery.ErrDenied):
			failed = err
		case err != nil && !errors.Is(err, discovery.ErrNotFound):
			return Znode{}, meta.Join(of), err
		}
		// One of the two is out of date. Mostly a change is being read; but nothing announces
		// that a znode's children exist (see discovery.Keyed.Children), and what changed while
		// the znode could not be read was not announced. If the znode may not be read any
		// more, its bytes must not be shown any more either.
		opt.Fresh = true
	}
	return Znode{}, discovery.Meta{}, failed
}

func bytesTopic(path string) discovery.Topic { return discovery.Topic{Kind: bytesKind, Name: path} }

// explain adds to an error what the client has to know of it.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, discovery.ErrDenied):
		return fmt.Errorf("%w: ZooKeeper does not let magellan read %s: give it credentials that may, with --auth", discovery.ErrForbidden, path)
	case errors.Is(err, discovery.ErrNotFound):
		return fmt.Errorf("znode %s: %w", path, discovery.ErrNotFound)
	}
	return err
}

package zk

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
)

// The methods below wait for the answer. When the context ends first they
// return at once with an error that wraps the context's; whether a write has
// happened is then unknown, and a watch may have been set.

// result carries an answer from the dispatcher to the goroutine that waits.
type result struct {
	path  string
	data  []byte
	names []string
	acl   []ACL
	ops   []OpResult
	stat  Stat
	err   error
}

var waiters = sync.Pool{New: func() any { return make(chan result, 1) }}

// do submits r and waits.
func (c *client) do(ctx context.Context, r *request, decode func(*C.struct_zk_event, *result)) (result, error) {
	if ctx.Err() != nil {
		return result{}, c.ended(ctx, r.op, r.path)
	}
	ch := waiters.Get().(chan result)
	id := c.submit(r, func(ev *C.struct_zk_event, err error) {
		res := result{err: err}
		if decode != nil && err == nil {
			decode(ev, &res)
		}
		ch <- res
	})
	return c.await(ctx, id, r.op, r.path, ch)
}

func (c *client) await(ctx context.Context, id uint64, o Operation, path string, ch chan result) (result, error) {
	select {
	case res := <-ch:
		waiters.Put(ch)
		return res, res.err
	case <-ctx.Done():
	}
	if _, ok := c.takeCall(id); ok {
		// No result will be sent: a completion that still comes finds no call.
		waiters.Put(ch)
	}
	return result{}, c.ended(ctx, o, path)
}

func (c *client) ended(ctx context.Context, o Operation, path string) error {
	return fmt.Errorf("zookeeper: %s %q: %w", o, path, context.Cause(ctx))
}

// Get reads a znode's data, see GetAsync.
func (c *client) Get(ctx context.Context, path string) ([]byte, Stat, error) {
	if err := checkPath(opGet, path, false); err != nil {
		return nil, Stat{}, err
	}
	res, err := c.do(ctx, &request{op: opGet, path: path}, decodeData)
	return res.data, res.stat, err
}

func decodeData(r *C.struct_zk_event, to *result) { to.data, to.stat = dataOf(r), statOf(&r.stat) }

// Exists reads a znode's Stat, see ExistsAsync.
func (c *client) Exists(ctx context.Context, path string) (Stat, error) {
	if err := checkPath(opExists, path, false); err != nil {
		return Stat{}, err
	}
	res, err := c.do(ctx, &request{op: opExists, path: path}, decodeStat)
	return res.stat, err
}

func decodeStat(r *C.struct_zk_event, to *result) { to.stat = statOf(&r.stat) }

// Children reads the names of a znode's children, see ChildrenAsync.
func (c *client) Children(ctx context.Context, path string) ([]string, Stat, error) {
	if err := checkPath(opChildren, path, false); err != nil {
		return nil, Stat{}, err
	}
	res, err := c.do(ctx, &request{op: opChildren, path: path}, decodeNames)
	return res.names, res.stat, err
}

func decodeNames(r *C.struct_zk_event, to *result) { to.names, to.stat = namesOf(r), statOf(&r.stat) }

// Create creates a znode; nil data is NULL, which is not the same as empty. It
// returns the path, which for the sequential modes ends in a number, and the
// Stat.
func (c *client) Create(ctx context.Context, path string, data []byte, opt CreateOptions) (string, Stat, error) {
	if err := checkCreate(path, opt.Mode, opt.ACL); err != nil {
		return "", Stat{}, err
	}
	ttl := opt.TTL.Milliseconds()
	if opt.Mode.ttl() != (ttl > 0) || opt.Mode.ttl() && opt.TTL <= 0 {
		return "", Stat{}, &Error{Op: opCreate.String(), Path: path, Code: ErrBadArguments,
			Detail: "a TTL of at least 1 ms belongs to the TTL modes, and to them only"}
	}
	acl := opt.ACL
	if acl == nil {
		acl = OpenACL()
	}
	if err := c.checkSize(opCreate, path, headerLen+pathLen(path)+lenLen+len(data)+aclLen(acl)+4+8, 1); err != nil {
		return "", Stat{}, err
	}
	r := request{op: opCreate, path: path, data: data, null: data == nil, a: int32(opt.Mode), b: ttl, acl: packACL(nil, acl)}
	res, err := c.do(ctx, &r, func(r *C.struct_zk_event, to *result) {
		to.path, to.stat = string(payload(r)), statOf(&r.stat)
	})
	if err != nil {
		return "", Stat{}, err
	}
	return res.path, res.stat, nil
}

func checkCreate(path string, mode CreateMode, acl []ACL) error {
	if mode < Persistent || mode > PersistentSequentialTTL {
		return &Error{Op: opCreate.String(), Path: path, Code: ErrBadArguments, Detail: fmt.Sprintf("there is no create mode %d", mode)}
	}
	if err := checkPath(opCreate, path, mode.sequential()); err != nil {
		return err
	}
	return checkACL(opCreate, path, acl)
}

// Set replaces a znode's data if its version is the given one; nil data is
// NULL.
func (c *client) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	if err := checkPath(opSet, path, false); err != nil {
		return Stat{}, err
	}
	if err := c.checkSize(opSet, path, headerLen+pathLen(path)+lenLen+len(data)+4, 1); err != nil {
		return Stat{}, err
	}
	res, err := c.do(ctx, &request{op: opSet, path: path, data: data, null: data == nil, a: version}, decodeStat)
	return res.stat, err
}

// Delete deletes a znode without children if its version is the given one.
func (c *client) Delete(ctx context.Context, path string, version int32) error {
	if err := checkPath(opDelete, path, false); err != nil {
		return err
	}
	_, err := c.do(ctx, &request{op: opDelete, path: path, a: version}, nil)
	return err
}

// Sync waits until the server has caught up with the leader, see SyncAsync.
func (c *client) Sync(ctx context.Context, path string) error {
	if err := checkPath(opSync, path, false); err != nil {
		return err
	}
	_, err := c.do(ctx, &request{op: opSync, path: path}, nil)
	return err
}

// GetACL reads a znode's ACL.
func (c *client) GetACL(ctx context.Context, path string) ([]ACL, Stat, error) {
	if err := checkPath(opGetACL, path, false); err != nil {
		return nil, Stat{}, err
	}
	res, err := c.do(ctx, &request{op: opGetACL, path: path}, func(r *C.struct_zk_event, to *result) {
		to.acl, to.stat = aclOf(r), statOf(&r.stat)
	})
	return res.acl, res.stat, err
}

// SetACL replaces a znode's ACL if its Aversion is the given one.
func (c *client) SetACL(ctx context.Context, path string, acl []ACL, version int32) error {
	if err := checkPath(opSetACL, path, false); err != nil {
		return err
	}
	if err := checkACL(opSetACL, path, acl); err != nil {
		return err
	}
	if acl == nil {
		acl = OpenACL()
	}
	if err := c.checkSize(opSetACL, path, headerLen+pathLen(path)+aclLen(acl)+4, 1); err != nil {
		return err
	}
	_, err := c.do(ctx, &request{op: opSetACL, path: path, a: version, acl: packACL(nil, acl)}, nil)
	return err
}

// packACL and the other pack functions write what request.c's reader reads:
// strings carry a NUL for C.
func packACL(b []byte, acl []ACL) []byte {
	b = packInt(b, int32(len(acl)))
	for _, a := range acl {
		b = packInt(b, int32(a.Perms))
		b = packString(b, a.Scheme)
		b = packString(b, a.ID)
	}
	return b
}

func packInt(b []byte, n int32) []byte { return binary.NativeEndian.AppendUint32(b, uint32(n)) }

func packString(b []byte, s string) []byte {
	b = packInt(b, int32(len(s)))
	b = append(b, s...)
	return append(b, 0)
}

func packBytes(b, data []byte) []byte {
	if data == nil {
		return packInt(b, -1)
	}
	b = packInt(b, int32(len(data)))
	b = append(b, data...)
	return append(b, 0)
}

func aclOf(r *C.struct_zk_event) []ACL {
	all := string(payload(r))
	acl := make([]ACL, r.count)
	for i := range acl {
		acl[i].Perms = Perm(binary.NativeEndian.Uint32([]byte(all[:4])))
		acl[i].Scheme, all = cutString(all[4:])
		acl[i].ID, all = cutString(all)
	}
	return acl
}

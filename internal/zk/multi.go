package zk

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"unsafe"
)

// Op is a part of a Multi: CreateOp, SetOp, DeleteOp or CheckOp.
type Op struct {
	op      Operation
	path    string
	data    []byte
	mode    CreateMode
	acl     []ACL
	version int32
}

// CreateOp creates a znode. Containers and TTLs are not possible in a Multi: the
// C client cannot read the answer.
func CreateOp(path string, data []byte, opt CreateOptions) Op {
	if opt.TTL != 0 {
		opt.Mode = PersistentTTL // refused by check
	}
	return Op{op: opCreate, path: path, data: data, mode: opt.Mode, acl: opt.ACL}
}

// SetOp replaces a znode's data.
func SetOp(path string, data []byte, version int32) Op {
	return Op{op: opSet, path: path, data: data, version: version}
}

// DeleteOp deletes a znode.
func DeleteOp(path string, version int32) Op { return Op{op: opDelete, path: path, version: version} }

// CheckOp fails unless a znode has the version.
func CheckOp(path string, version int32) Op { return Op{op: opCheck, path: path, version: version} }

// OpResult is the outcome of a part.
type OpResult struct {
	Path string // of CreateOp: the znode's
	Stat Stat   // of SetOp
	Err  error  // nil, or the *Error of this part; ErrRolledBack if another part failed
}

// Multi does all of ops or none. If none, the error is that of the part that
// failed, and the results have one for each. With any other error there are no results,
// and whether the transaction has happened is unknown.
//
// If the session ends while the distribution's libzookeeper writes the request, the
// process can crash. The libzookeeper that build/native.sh builds has a fix.
func (c *client) Multi(ctx context.Context, ops ...Op) ([]OpResult, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	size := headerLen + multiHeader
	packed := packInt(nil, int32(len(ops)))
	for i, o := range ops {
		if err := o.check(); err != nil {
			return nil, fmt.Errorf("zookeeper: multi, part %d: %w", i, err)
		}
		size += multiHeader + pathLen(o.path) + lenLen
		arg := o.version
		if o.op == opCreate {
			arg = int32(o.mode)
			if o.acl == nil {
				o.acl = OpenACL()
			}
			size += aclLen(o.acl) + 4
		}
		size += len(o.data) + 4
		packed = packInt(packed, int32(o.op))
		packed = packInt(packed, arg)
		packed = packString(packed, o.path)
		packed = packBytes(packed, o.data)
		if o.op == opCreate {
			packed = packACL(packed, o.acl)
		}
	}
	if err := c.checkSize(opMulti, "", size, len(ops)); err != nil {
		return nil, err
	}
	ch := waiters.Get().(chan result)
	id := c.submit(&request{op: opMulti, data: packed}, func(r *C.struct_zk_event, err error) { ch <- c.multiResult(r, err, ops) })
	res, err := c.await(ctx, id, opMulti, ops[0].path, ch)
	return res.ops, err
}

func (o Op) check() error {
	switch o.op {
	case opCreate:
		if o.mode.ttl() || o.mode == Container {
			return &Error{Op: "multi", Path: o.path, Code: ErrBadArguments, Detail: "containers and TTLs are not possible in a multi"}
		}
		return checkCreate(o.path, o.mode, o.acl)
	case opSet, opDelete, opCheck:
		return checkPath(o.op, o.path, false)
	}
	return &Error{Op: "multi", Code: ErrBadArguments, Detail: "use CreateOp, SetOp, DeleteOp and CheckOp"}
}

// multiResult returns the result of an answer. The error is that of the part that failed.
func (c *client) multiResult(r *C.struct_zk_event, err error, ops []Op) result {
	res := result{err: err}
	if r != nil {
		res.ops = c.resultsOf(r, ops)
	}
	for _, part := range res.ops {
		if part.Err != nil && !errors.Is(part.Err, ErrRolledBack) {
			res.err = part.Err
			return res
		}
	}
	if err != nil {
		res.ops = nil // no part has failed: the connection has, and nothing is known of them
	}
	return res
}

// resultsOf copies the parts' results out of C.
func (c *client) resultsOf(r *C.struct_zk_event, ops []Op) []OpResult {
	if int(r.count) != len(ops) {
		return nil // it failed before libzookeeper took it apart
	}
	results := make([]OpResult, len(ops))
	p := unsafe.Add(unsafe.Pointer(r), C.sizeof_struct_zk_event)
	for i := range results {
		part := (*C.struct_zk_op_result)(p)
		p = unsafe.Add(p, C.sizeof_struct_zk_op_result)
		code := c.codeOf(int32(part.err))
		if code == 0 && r.rc != 0 {
			code = ErrRolledBack // the server reports this only for the parts after the one that failed
		}
		if code != 0 {
			results[i].Err = &Error{Op: ops[i].op.String(), Path: ops[i].path, Code: code}
		}
		if part.has_stat != 0 {
			results[i].Stat = statOf(&part.stat)
		}
		if n := int(part.path_len); n >= 0 {
			if code == 0 {
				results[i].Path = string(unsafe.Slice((*byte)(p), n))
			}
			p = unsafe.Add(p, (n+7)/8*8)
		}
	}
	return results
}

package zookeeper

import "github.com/Shopify/gozk/internal/zk"

// Constants for ACL.Perms, those of zookeeper.h.
const (
	PERM_READ = 1 << iota
	PERM_WRITE
	PERM_CREATE
	PERM_DELETE
	PERM_ADMIN
	PERM_ALL = 0x1f
)

// ACL is an entry of an access control list: it grants permissions to whoever the
// identity matches.
type ACL struct {
	Perms  uint32 // A set of PERM_*; other bits are ignored.
	Scheme string // How identities are told: "world", "auth", "digest", "ip".
	Id     string // The identity, as the scheme has it.
}

// AuthACL returns a list of one entry, for the identities that the session has when the
// list is used. ZooKeeper refuses it (ZINVALIDACL) for a session without AddAuth.
func AuthACL(perms uint32) []ACL { return []ACL{{perms, "auth", ""}} }

// WorldACL returns a list of one entry, for everybody.
func WorldACL(perms uint32) []ACL { return []ACL{{perms, "world", "anyone"}} }

// aclTo translates for the client. The result is never nil, which would stand for
// everybody there: here nil is an empty list, which the server refuses. So is an entry
// without a scheme, which the client would refuse as a bad argument.
func aclTo(acl []ACL) []zk.ACL {
	to := make([]zk.ACL, len(acl))
	for i, a := range acl {
		if a.Scheme == "" {
			return []zk.ACL{}
		}
		to[i] = zk.ACL{Perms: zk.Perm(a.Perms & PERM_ALL), Scheme: a.Scheme, ID: a.Id}
	}
	return to
}

// aclFrom translates what the client has read.
func aclFrom(acl []zk.ACL) []ACL {
	from := make([]ACL, len(acl))
	for i, a := range acl {
		from[i] = ACL{uint32(a.Perms), a.Scheme, a.ID}
	}
	return from
}

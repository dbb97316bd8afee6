package main

import (
	"encoding/base64"
	"fmt"
	"strings"

	"magellan/internal/zk"
)

// parseACL parses the ACL of --acl: creator, world, or entries in the format of zkCli's
// setAcl, SCHEME:ID:PERMS separated by commas.
func parseACL(text string) ([]zk.ACL, error) {
	switch text {
	case "creator":
		return zk.CreatorACL(), nil
	case "world", "open":
		return zk.OpenACL(), nil
	}
	var acl []zk.ACL
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		scheme, rest, ok := strings.Cut(entry, ":")
		last := strings.LastIndexByte(rest, ':') // an id may contain colons
		if !ok || last < 0 || scheme == "" {
			return nil, fmt.Errorf("%q is neither creator nor world nor SCHEME:ID:PERMS, such as world:anyone:r or auth::cdrwa", entry)
		}
		id, letters := rest[:last], rest[last+1:]
		perms, err := parsePerms(letters)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, err)
		}
		switch {
		case scheme == "world" && id != "anyone":
			return nil, fmt.Errorf("%q: the one id of world is anyone: write world:anyone:%s", entry, letters)
		case scheme == "digest" && !isDigest(id):
			// The error does not repeat the entry, which may contain a password.
			return nil, fmt.Errorf("digest takes USER:HASH, where HASH is the SHA-1 of USER:PASSWORD in base64; for the identity given with --auth write auth::%s", letters)
		}
		acl = append(acl, zk.ACL{Perms: perms, Scheme: scheme, ID: id})
	}
	return acl, nil
}

// parsePerms parses permissions, which are letters out of cdrwa.
func parsePerms(letters string) (perms zk.Perm, err error) {
	known := map[rune]zk.Perm{'c': zk.PermCreate, 'd': zk.PermDelete, 'r': zk.PermRead, 'w': zk.PermWrite, 'a': zk.PermAdmin}
	for _, letter := range letters {
		if known[letter] == 0 {
			return 0, fmt.Errorf("%q is no permission: they are c (create), d (delete), r (read), w (write) and a (admin)", letter)
		}
		perms |= known[letter]
	}
	if perms == 0 {
		return 0, fmt.Errorf("no permission is given: they are c (create), d (delete), r (read), w (write) and a (admin)")
	}
	return perms, nil
}

// isDigest reports whether the scheme digest can match an id at all.
func isDigest(id string) bool {
	user, hash, ok := strings.Cut(id, ":")
	sum, err := base64.StdEncoding.DecodeString(hash)
	return ok && user != "" && err == nil && len(sum) == 20
}

// newACL returns the ACL for znodes that the program creates: that of text or, if text
// is empty, creator if credentials are given and world if not.
func (f *zookeeperFlags) newACL(text string) ([]zk.ACL, error) {
	if text == "" {
		text = "world"
		if len(f.Auth) > 0 {
			text = "creator"
		}
	}
	if text == "creator" && len(f.Auth) == 0 && f.TLSCert == "" {
		return nil, fail(exitUsage, "--acl: creator is the identity of the credentials, and none are given: see --auth")
	}
	acl, err := parseACL(text)
	if err != nil {
		return nil, fail(exitUsage, "--acl: %w", err)
	}
	return acl, nil
}

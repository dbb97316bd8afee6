package zk

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is that of a server that is given without one.
const DefaultPort = 2181

// ParseServers reads a list of servers as ZooKeeper's own tools have it: parts with
// commas between, of which each is a name or an address, with a port or without:
//
//	zk1.example.org:2181,[2001:db8::1]:2181,zk3.example.org/chroot
//
// A path behind the last one is the chroot of all: the znode that the client takes for
// the root. servers are host:port then, IPv6 in brackets, each once; chroot is empty
// for none. The error is an *Error with ErrBadArguments and says what to write.
func ParseServers(list ...string) (servers []string, chroot string, err error) {
	parts := slices.DeleteFunc(strings.Split(strings.Join(list, ","), ","), func(s string) bool {
		return strings.TrimSpace(s) == "" // as after a comma at the end
	})
	if len(parts) == 0 {
		return nil, "", badServers("no server is given: at least one HOST:PORT is needed")
	}
	for i, part := range parts {
		part = strings.TrimSpace(part)
		server, path, hasPath := strings.Cut(part, "/")
		switch {
		case strings.Contains(part, "://"):
			return nil, "", badServers("server %q: leave the scheme away and write HOST:PORT", part)
		case hasPath && i < len(parts)-1:
			return nil, "", badServers("server %q: a path holds for all servers and stands behind the last one: write HOST:PORT,HOST:PORT/PATH", part)
		case hasPath && path != "":
			chroot = "/" + path
			if err := checkPath(opGet, chroot, false); err != nil {
				return nil, "", badServers("the chroot %q: %s", chroot, err.(*Error).Detail)
			}
		}
		host, port, err := splitHostPort(server)
		if err != nil {
			return nil, "", err
		}
		if server = net.JoinHostPort(host, strconv.Itoa(port)); !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers, chroot, nil
}

func badServers(format string, args ...any) error {
	return &Error{Op: "servers", Code: ErrBadArguments, Detail: fmt.Sprintf(format, args...)}
}

// splitHostPort reads one server.
func splitHostPort(server string) (host string, port int, err error) {
	host, text, hasPort := server, "", false
	if rest, ok := strings.CutPrefix(server, "["); ok {
		var closed bool
		if host, text, closed = strings.Cut(rest, "]"); !closed {
			return "", 0, badServers("server %q: the bracket is not closed: write [::1]:%d", server, DefaultPort)
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", 0, badServers("server %q: %q is no IPv6 address, and only those stand in brackets", server, host)
		}
		if text, hasPort = strings.CutPrefix(text, ":"); !hasPort && text != "" {
			return "", 0, badServers("server %q: behind the bracket only a port can follow: write [%s]:%d", server, host, DefaultPort)
		}
	} else {
		if strings.Count(server, ":") > 1 {
			return "", 0, badServers("server %q: there is more than one colon; an IPv6 address stands in brackets: write [::1]:%d", server, DefaultPort)
		}
		host, text, hasPort = strings.Cut(server, ":")
		if host == "" {
			return "", 0, badServers("server %q has no host: write HOST:PORT, such as 127.0.0.1:%d", server, DefaultPort)
		}
		if i := strings.IndexFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`[]@%"`, r) }); i >= 0 {
			return "", 0, badServers("server %q: %q cannot stand in a host's name; between servers stands a comma", server, host[i:i+1])
		}
	}
	if !hasPort {
		return host, DefaultPort, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, badServers("server %q: the port %q is no number from 1 to 65535", server, text)
	}
	return host, int(n), nil
}

// hostList writes servers for libzookeeper, which takes the last colon for the one
// before the port, and no brackets.
func hostList(servers []string) string {
	var hosts []string
	for _, s := range servers {
		host, port, _ := net.SplitHostPort(s) // ParseServers has joined it
		hosts = append(hosts, host+":"+port)
	}
	return strings.Join(hosts, ",")
}

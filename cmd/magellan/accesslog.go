package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// accessLogFile is the file of the access log, or stdout. It is nil if there is no
// access log.
type accessLogFile struct {
	io.Writer
	file *os.File // nil for stdout
}

// openAccessLog opens what --access-log-file names, unless there is no such log.
func (c *serveCommand) openAccessLog(stdout io.Writer) (*accessLogFile, error) {
	switch {
	case c.AccessLog == "" || c.AccessLog == "off":
		return nil, nil
	case c.AccessLogFile == "" || c.AccessLogFile == "-":
		// The program that reads the log may end before the server does. The Go runtime
		// ends a process that writes to a broken stdout, unless SIGPIPE is ignored.
		signal.Ignore(syscall.SIGPIPE)
		return &accessLogFile{Writer: stdout}, nil
	}
	file, err := os.OpenFile(c.AccessLogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fail(exitUsage, "--access-log-file: %w", err)
	}
	return &accessLogFile{file, file}, nil
}

// writer returns l as a writer, and nil if there is no log.
func (l *accessLogFile) writer() io.Writer {
	if l == nil {
		return nil
	}
	return l.Writer
}

// Close closes the file. It leaves stdout open.
func (l *accessLogFile) Close() error {
	if l == nil || l.file == nil {
		return nil
	}
	return l.file.Close()
}

// trustedProxies parses --trusted-proxies. A single address becomes a prefix of full
// length. unix means that all peers of a unix socket are trusted. A prefix that no
// client can match is an error.
func (c *serveCommand) trustedProxies() (proxies []netip.Prefix, unix bool, err error) {
	for _, text := range c.TrustedProxies {
		if text == "unix" {
			if !strings.HasPrefix(c.Listen, unixPrefix) {
				return nil, false, errors.New("--trusted-proxies: unix is for whoever connects to a unix socket, and there is none: give --listen=unix:PATH as well, or leave unix away")
			}
			unix = true
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, false, fmt.Errorf("--trusted-proxies: %q is neither an address nor a prefix such as 10.0.0.0/8, nor unix for the peers of a unix socket", text)
		}
		if prefix.Addr().Is4In6() { // clients' addresses are compared as IPv4
			const mapped = 128 - 32
			if prefix.Bits() < mapped {
				return nil, false, fmt.Errorf("--trusted-proxies: %q covers more than the IPv4-mapped addresses: write an IPv4 prefix such as 10.0.0.0/8, or /%d or longer", text, mapped)
			}
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, unix, nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"magellan/internal/cache"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// zookeeperFlags name ZooKeeper and the place of shops in it. serve and import share them.
type zookeeperFlags struct {
	connectFlags
	Root        string `placeholder:"PATH" help:"The znode below which all data of shops is. Without this flag it is ${root}; but if serve is given --services, it then serves no shops."`
	ShopBuckets int    `placeholder:"N" default:"${shop_buckets}" help:"Number of directories over which shops are spread; 0 means no directories. It is part of the data's layout: import and serve must use the same number."`
}

// connectFlags name ZooKeeper, and say how to connect to it.
type connectFlags struct {
	Servers        []string      `placeholder:"HOST:PORT" default:"127.0.0.1:2181" help:"ZooKeeper's servers, separated by commas. They are tried in random order. The default port is 2181. IPv6 addresses are written in brackets. A path after the last server is the chroot: all other paths are below it."`
	SessionTimeout time.Duration `placeholder:"DURATION" default:"10s" help:"Session timeout that is requested from ZooKeeper. A silent connection is closed after two thirds of it."`
	Auth           []string      `placeholder:"SCHEME:DATA" sep:"none" help:"Credentials, such as digest:user:password. Other users of the machine can see the command line, so set the variable instead."`
	TLSCA          string        `name:"tls-ca" placeholder:"FILE" and:"tls" help:"PEM file of the authority that signed the servers' certificates. TLS is on if all three files are given."`
	TLSCert        string        `name:"tls-cert" placeholder:"FILE" and:"tls" help:"PEM file of the client's certificate."`
	TLSKey         string        `name:"tls-key" placeholder:"FILE" and:"tls" help:"PEM file of the client's key."`
	TLSKeyPassword string        `name:"tls-key-password" placeholder:"TEXT" help:"Password of the key. Other users can see the command line, so set the variable instead."`
}

// layout returns the paths of the znodes.
func (f *zookeeperFlags) layout() (shops.Layout, error) {
	l := shops.Layout{Root: cmp.Or(f.Root, shops.DefaultRoot), ShopBuckets: f.ShopBuckets}
	if err := l.Validate(); err != nil {
		return l, &codedError{exitUsage, err}
	}
	return l, nil
}

// config returns the configuration of the client.
func (f *connectFlags) config(log *slog.Logger) (zk.Config, error) {
	cfg := zk.Config{Servers: f.Servers, SessionTimeout: f.SessionTimeout, Logger: log}
	if f.SessionTimeout <= 0 {
		return cfg, fail(exitUsage, "--session-timeout: %v is not a positive duration", f.SessionTimeout)
	}
	for _, auth := range f.Auth {
		scheme, data, ok := strings.Cut(auth, ":")
		if !ok {
			// The error does not repeat the text, which may be a password.
			return cfg, fail(exitUsage, "--auth: want SCHEME:DATA, such as digest:user:password")
		}
		cfg.Auth = append(cfg.Auth, zk.Credential{Scheme: scheme, Data: data})
	}
	if f.TLSCA != "" {
		cfg.TLS = &zk.TLS{CA: f.TLSCA, Cert: f.TLSCert, Key: f.TLSKey, Password: f.TLSKeyPassword}
	}
	return cfg, nil
}

// servers returns --servers as it was given.
func (f *connectFlags) servers() string { return strings.Join(f.Servers, ",") }

// orChroot is for the message that a znode does not exist. If --servers has a chroot,
// the chroot should be checked too.
func (f *connectFlags) orChroot() string {
	if _, chroot, err := zk.ParseServers(f.Servers...); err == nil && chroot != "" {
		return fmt.Sprintf(" and the chroot %s of --servers", chroot)
	}
	return ""
}

// unreachable returns the error that ZooKeeper cannot be used, with the reason if it is
// known.
func (f *connectFlags) unreachable(after time.Duration, err error) error {
	servers := f.servers()
	if errors.Is(err, zk.ErrAuthFailed) {
		var schemes []string
		for _, auth := range f.Auth {
			scheme, _, _ := strings.Cut(auth, ":")
			schemes = append(schemes, scheme)
		}
		return fail(exitUnreachable, "ZooKeeper at %s refuses the credentials: check --auth (MAGELLAN_AUTH); does ZooKeeper have the scheme %s?", servers, strings.Join(schemes, ", "))
	}
	var denied *zk.Error
	if errors.As(err, &denied) && denied.Code == zk.ErrNoAuth {
		return fail(exitFailed, "ZooKeeper at %s does not allow %s to be read: check --auth (MAGELLAN_AUTH) and the ACL of that znode", servers, denied.Path)
	}
	why := "check --servers and that it runs"
	if names := f.unresolved(); len(names) > 0 {
		why = strings.Join(names, "; ") + ": check --servers and the DNS"
	}
	return fail(exitUnreachable, "ZooKeeper at %s cannot be reached (tried for %v): %s", servers, after, why)
}

// unresolved returns a message for each of the servers' names that has no address.
func (f *connectFlags) unresolved() []string {
	const patience = 2 * time.Second
	servers, _, _ := zk.ParseServers(f.Servers...) // Open has parsed them
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	said := make([]string, len(servers))
	var lookups sync.WaitGroup
	for i, server := range servers {
		lookups.Go(func() {
			host, _, _ := net.SplitHostPort(server) // ParseServers has joined them
			_, err := net.DefaultResolver.LookupHost(ctx, host)
			if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
				said[i] = fmt.Sprintf("the name %s does not resolve (%s)", host, dns.Err)
			}
		})
	}
	lookups.Wait()
	slices.Sort(said) // one name may be there with several ports
	return slices.DeleteFunc(slices.Compact(said), func(s string) bool { return s == "" })
}

// openFailed gives an error of zk.Open, or of the cache's Start, the exit code of a usage error, if the command
// line is the cause.
func openFailed(err error) error {
	if errors.Is(err, zk.ErrBadArguments) || errors.Is(err, zk.ErrNoTLS) || errors.Is(err, cache.ErrOverlap) {
		return &codedError{exitUsage, err}
	}
	return err
}

// connect opens a session and waits until it can be used for requests.
func (f *connectFlags) connect(ctx context.Context, timeout time.Duration, log *slog.Logger) (*zk.Client, error) {
	cfg, err := f.config(log)
	if err != nil {
		return nil, err
	}
	client, err := zk.Open(cfg)
	if err != nil {
		return nil, openFailed(err)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := client.WaitReady(waiting); err != nil {
		client.Close()
		if ctx.Err() != nil {
			return nil, &codedError{code: exitInterrupted}
		}
		return nil, f.unreachable(timeout, err)
	}
	if _, err := client.Exists(waiting, "/"); errors.Is(err, zk.ErrNoNode) { // only a chroot may be absent
		client.Close()
		_, chroot, _ := zk.ParseServers(f.Servers...) // Open has parsed it
		return nil, fail(exitNotFound, "the chroot %s of --servers does not exist on ZooKeeper: create it, or leave it out and put its path before those of the other flags", chroot)
	}
	return client, nil
}

// logFlags choose the log's level and format.
type logFlags struct {
	LogLevel  string `placeholder:"LEVEL" enum:"debug,info,warn,error" default:"info" help:"Lowest level to log: debug (each request), info, warn or error."`
	LogFormat string `placeholder:"FORMAT" enum:"text,json" default:"text" help:"Format of the log on stderr: text or json."`
}

func (f logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		panic(err) // kong has checked it
	}
	opts := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// byteSize is a number of bytes, written 268435456, 256MiB or 256MB.
type byteSize int64

// UnmarshalText parses what String prints, and more.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no number of bytes such as 256MiB, 1GB or 1048576", text)
	}
	*b = byteSize(n)
	return nil
}

// tokenFlags set the token of operators' requests. serve and heap share them.
type tokenFlags struct {
	AdminToken     string `placeholder:"TOKEN" xor:"token" env:"MAGELLAN_ADMIN_TOKEN" help:"Token that operators' requests must have, as bearer token or as password. Other users can see the command line, so set the variable or use the file instead."`
	AdminTokenFile string `placeholder:"FILE" xor:"token" env:"MAGELLAN_ADMIN_TOKEN_FILE" help:"File that contains the token."`
}

// token returns the token. It is empty if none is given. An empty file is an error,
// because without a token everybody would have access.
func (f *tokenFlags) token() (string, error) {
	name, text := "--admin-token (MAGELLAN_ADMIN_TOKEN)", f.AdminToken
	if f.AdminTokenFile != "" {
		name = "--admin-token-file: " + f.AdminTokenFile
		content, err := os.ReadFile(f.AdminTokenFile)
		if err != nil {
			return "", &codedError{exitUsage, err}
		}
		text = string(content)
	} else if text == "" {
		return "", nil
	}
	// Files end with a newline, and so do variables that are made from files. The newline
	// is no part of the token.
	token := strings.TrimSpace(text)
	if token == "" {
		return "", fail(exitUsage, "%s is empty: it must contain the token", name)
	}
	if strings.ContainsFunc(token, unicode.IsControl) { // no request could contain it
		return "", fail(exitUsage, "%s: a token is one line of text", name)
	}
	return token, nil
}

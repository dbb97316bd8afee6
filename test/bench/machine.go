package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"magellan/cgo/jemalloc"
)

// describeMachine says what was measured on and with what.
func (r *run) describeMachine(ctx context.Context) string {
	osRelease, _ := os.ReadFile("/etc/os-release")
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	jemallocVersion, _ := jemalloc.Version()
	var srvr string
	if r.zookeeper != nil {
		srvr, _ = r.zookeeper.FourLetter("srvr")
	}
	said := func(name string, args ...string) []byte {
		out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
		return out
	}
	return fmt.Sprintf("%s, %d cores (%s), shared by clients and servers; %s, Echo %s, go-zookeeper/zk %s, "+
		"libzookeeper %s, jemalloc %s, ZooKeeper %s, nginx %s, wrk %s",
		match(`(?m)^PRETTY_NAME="(.*)"`, osRelease), runtime.NumCPU(), match(`(?m)^model name\s*: (.*)`, cpuinfo),
		strings.Replace(runtime.Version(), "go", "Go ", 1), module("github.com/labstack/echo/v4"), module("github.com/go-zookeeper/zk"),
		bytes.TrimSpace(said(r.cmd.FillC, "--version")), match(`^([\d.]+)`, []byte(jemallocVersion)),
		match(`version: ([\d.]+)`, []byte(srvr)), match(`nginx/([\d.]+)`, said(nginxBinary(), "-v")), match(`wrk \D*([\d.]+)`, said("wrk", "-v")))
}

// match returns the first group of a regular expression, or a question mark.
func match(expression string, in []byte) string {
	if m := regexp.MustCompile(expression).FindSubmatch(in); m != nil {
		return string(m[1])
	}
	return "?"
}

// module returns the version of a module this program was built with.
func module(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return "?"
}

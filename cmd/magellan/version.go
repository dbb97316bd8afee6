package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"magellan/cgo/jemalloc"
	"magellan/internal/zk"
)

// version is set by the linker, see build/build.sh. If it is empty, the module's version
// is used.
var version string

type versionCommand struct{}

// Run prints the versions.
func (versionCommand) Run(con *console) error {
	v, commit := buildVersion()
	malloc, err := jemalloc.Version()
	if err != nil {
		malloc = "none: " + err.Error()
	}
	w := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "magellan\t%s\n", v)
	fmt.Fprintf(w, "commit\t%s\n", commit)
	fmt.Fprintf(w, "go\t%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	tls := ""
	if !zk.HasTLS() {
		tls = " (without TLS)"
	}
	fmt.Fprintf(w, "libzookeeper\t%s%s\n", zk.Version(), tls)
	fmt.Fprintf(w, "jemalloc\t%s\n", malloc)
	return w.Flush()
}

// buildVersion returns the version and the commit, if the go command has recorded them.
func buildVersion() (v, commit string) {
	v, commit = version, "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(v, "unknown"), commit
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	return cmp.Or(v, info.Main.Version, "unknown"), commit + modified
}

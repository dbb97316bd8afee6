package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"magellan/internal/admin"
	"magellan/internal/cache"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// The exit codes; doc.go says what they mean.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitInterrupted = 130
)

// cli is the command line. Every flag has an environment variable, MAGELLAN_ and
// its name in capitals unless the tag says otherwise.
type cli struct {
	Serve   serveCommand   `cmd:"" help:"Answer requests from a cache of ZooKeeper's data."`
	Import  importCommand  `cmd:"" help:"Write shops, datacenters, regions and bad-citizen lists to ZooKeeper."`
	Layouts layoutsCommand `cmd:"" help:"Recognize the services that other programs keep in ZooKeeper."`
	Get     getCommand     `cmd:"" help:"Send a request to a running server."`
	Heap    heapCommand    `cmd:"" help:"Show the memory that C holds in a running server, or in any Go program with C code."`
	Health  healthCommand  `cmd:"" help:"Check whether a running server is alive, or ready."`
	Version versionCommand `cmd:"" help:"Print the versions of magellan and of the libraries with which it is linked."`
}

// console is where a command reads and writes.
type console struct {
	in       *os.File
	out, err io.Writer
}

// envPrefix begins the names of all environment variables.
const envPrefix = "MAGELLAN"

// dropEmptyVariables makes empty variables unset ones: what starts programs in
// containers often cannot leave a variable out.
func dropEmptyVariables() {
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); value == "" && strings.HasPrefix(name, envPrefix+"_") {
			os.Unsetenv(name)
		}
	}
}

func newParser(stdout, stderr io.Writer) *kong.Kong {
	return kong.Must(&cli{},
		kong.Name("magellan"),
		kong.Description("magellan answers service-discovery questions over plain HTTP from a cache that ZooKeeper keeps true."),
		kong.DefaultEnvars(envPrefix),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ValueFormatter(describe),
		kong.ExplicitGroups([]kong.Group{nativeGroup, heapServerGroup, heapProcessGroup}),
		kong.Writers(stdout, stderr),
		kong.Vars{
			"root":              shops.DefaultRoot,
			"shop_buckets":      fmt.Sprint(shops.DefaultShopBuckets),
			"max_stale":         shops.DefaultMaxStale.String(),
			"consul_datacenter": httpapi.DefaultConsulDatacenter,
			"snapshot_every":    cache.DefaultSnapshotInterval.String(),
			"shrink_guard":      fmt.Sprint(cache.DefaultShrinkGuard),
			"audit_rate":        fmt.Sprint(cache.DefaultAuditRate),
			"admin_listen":      admin.DefaultListen,
			"request_timeout":   httpapi.DefaultRequestTimeout.String(),
			"max_wait":          httpapi.DefaultMaxWait.String(),
			"max_polls":         fmt.Sprint(httpapi.DefaultMaxPolls),
			"max_streams":       fmt.Sprint(httpapi.DefaultMaxStreams),
		},
	)
}

// run is the program: it returns the exit code.
func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	dropEmptyVariables()
	parser := newParser(stdout, stderr)
	parsed, err := parser.Parse(args)
	if err != nil {
		help := "magellan --help"
		if e := (*kong.ParseError)(nil); errors.As(err, &e) && e.Context.Selected() != nil {
			help = e.Context.Selected().FullPath() + " --help"
		}
		fmt.Fprintf(stderr, "magellan: %v; see %s\n", err, help)
		return exitUsage
	}

	ctx, stop := untilSignalled()
	defer stop()

	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(&console{in: stdin, out: stdout, err: stderr})
	if err == nil {
		return exitOK
	}
	code := exitFailed
	if coded := (*codedError)(nil); errors.As(err, &coded) {
		code = coded.code
		if coded.err == nil {
			return code
		}
	}
	fmt.Fprintf(stderr, "magellan: %v\n", err)
	return code
}

// describe is the help of a flag: what it is for, what it is if not given, and
// the environment variable that gives it.
func describe(v *kong.Value) string {
	if v.Flag == nil {
		return v.Help
	}
	var notes []string
	if v.HasDefault && v.Default != "" {
		notes = append(notes, "default "+v.Default)
	}
	for _, env := range v.Tag.Envs {
		notes = append(notes, "$"+env)
	}
	if len(notes) == 0 {
		return v.Help
	}
	return v.Help + " (" + strings.Join(notes, ", ") + ")"
}

// codedError ends the program with a certain exit code.
type codedError struct {
	code int
	// err is printed; nil if all has been said already.
	err error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &codedError{code, fmt.Errorf(format, args...)}
}

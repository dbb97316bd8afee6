package arch

// An arrow says what a package may import of ours, tests aside. A package
// without an arrow is an error: say here what it is allowed and why.
type arrow struct {
	from string // a package; one that ends in /... stands for the packages below it as well
	to   []string
	why  string
}

const anything = "*"

// The first arrow whose from matches a package is the one that holds.
var arrows = []arrow{
	{"cmd/...", []string{anything}, "programs put the parts together"},
	{"deploy/...", nil, "tests of manifests, a module of its own"},
	{"demo/...", []string{"internal/zk", "internal/zk/zktest"}, "what make run starts beside magellan"},
	{"test/...", []string{anything}, "programs and tests that measure and torture, in a module of their own: no part of the product"},

	{"client/...", nil, "what programs of others import: it knows the HTTP API and nothing of ours behind it"},

	{"internal/httpapi/...", []string{"internal/shops", "internal/services", "internal/znodes", "internal/discovery", "internal/httpapi/..."}, "HTTP asks the domains and knows neither the cache nor ZooKeeper behind them"},
	{"internal/admin/...", []string{"internal/admin/..."}, "what operators see of the rest are routes that it is given"},
	{"internal/cache/...", []string{"internal/zk", "internal/discovery", "internal/cache/..."}, "the cache mirrors what any domain describes, and knows none"},
	{"internal/shops/...", []string{"internal/discovery", "internal/shops/..."}, "a domain is pure: it reads through its own Reader interface"},
	{"internal/services/...", []string{"internal/discovery", "internal/services/..."}, "as shops: layouts of other people are pure functions"},
	{"internal/znodes/...", []string{"internal/discovery", "internal/znodes/..."}, "as shops: any znode, without a meaning"},
	{"internal/discovery/...", nil, "words that every domain shares"},
	{"internal/zk/zktest/...", []string{"internal/zk/zktest/...", "internal/childproc"}, "what tests the client may not depend on it"},
	{"internal/zk/zkmetrics", []string{"internal/zk"}, "what counts the client's doings knows the client"},
	{"internal/zk", nil, "a ZooKeeper client knows nothing of who uses it"},
	{"internal/alloctest", nil, "what tests of any package count with"},
	{"internal/arch", nil, "tests only"},
	{"internal/childproc", nil, "programs that tests and tools start, whichever they are"},

	{"gozk", []string{"gozk/internal/zk"}, "a module of its own that programs replace another by: it has nothing but the ZooKeeper client, by links"},
	{"examples/...", []string{"gozk", "cgo/..."}, "what programs of others are like"},

	{"cgo/agent/...", []string{"cgo/jemalloc/heapprof", "cgo/agent/..."}, "speaks to the agent in other processes and reads their dumps: it needs no C of its own"},
	{"cgo/jemalloc/pprof/...", []string{"cgo/jemalloc", "cgo/jemalloc/heapprof", "cgo/jemalloc/pprof/..."}, "handlers over the dump and its reader"},
	{"cgo/jemalloc/heapprof/...", []string{"cgo/jemalloc/heapprof/..."}, "reads dumps of any process, so it needs no jemalloc of its own"},
	{"cgo/jemalloc/...", []string{"cgo/jemalloc/internal/..."}, "usable by any Go program as it is"},
}

// A fence keeps an import, ours or not, inside some packages, tests aside.
type fence struct {
	imports string // a package, or with /... one and those below it
	only    []string
	why     string
}

var fences = []fence{
	{"github.com/labstack/echo/...", []string{"internal/httpapi/...", "internal/admin/...", "test/bench/..."}, "the web framework is a detail of the two HTTP sides"},
	{"github.com/tmaxmax/go-sse/...", []string{"client/..."}, "streams are written by httpapi, which queues nothing"},
	{"github.com/dgraph-io/ristretto/...", []string{"internal/cache/...", "test/bench/..."}, "it decides what stays in memory, and only the cache knows why it may not decide more"},
	{"github.com/go-zookeeper/zk", []string{"test/bench/..."}, "the client to compare with"},
	{"github.com/alecthomas/kong", []string{"cmd/...", "test/..."}, "flags belong to programs"},
	{"github.com/google/pprof/...", []string{"cgo/jemalloc/heapprof/...", "cgo/jemalloc/pprof/...", "cgo/agent/...", "internal/admin/...", "cmd/..."}, "profiles have one door into the program"},
	{"net/http", []string{"client/...", "internal/httpapi/...", "internal/admin/...", "cgo/jemalloc/pprof/...", "cmd/...", "examples/...", "test/..."}, "the domain, the cache and the ZooKeeper client speak no HTTP"},
	{"testing", []string{"internal/zk/zktest/...", "internal/shops/shopstest/...", "internal/alloctest", "test/world"}, "a program does not link its tests"},
	{"log", []string{"test/..."}, "log/slog, from the Config: a library does not choose where its log goes"},
	{"github.com/prometheus/client_golang/prometheus/promauto", nil, "metrics are registered with the Registerer of a Config, never behind the caller's back"},
	{"github.com/prometheus/...", []string{"internal/zk/zkmetrics", "internal/cache/...", "internal/httpapi/...", "internal/admin/...", "cgo/jemalloc/...", "cmd/...", "test/..."}, "who links the ZooKeeper client need not link Prometheus"},
	{"unsafe", []string{"cgo/...", "internal/zk/...", "internal/cache/...", "internal/httpapi/...", "test/bench/..."}, "it belongs to the C boundary, and to the two that answer a request without a copy"},
}

// gozkModule is the module path of the folder gozk, which is not ours to choose.
const gozkModule = "github.com/Shopify/gozk"

// clientLinks is where the module gozk has the ZooKeeper client: a link to each of its
// files, tests aside, because Go takes no package from outside of a module.
const clientLinks, clientFiles = "gozk/internal/zk", "internal/zk"

// Where a library may write to the standard error.
var mayWrite = map[string]string{
	"gozk/log.go": "what SetLogLevel is about, in an API that is not ours to choose",
}

// What is for other programs: not even its tests lean on ours.
var publicTrees, privateTree = []string{"cgo/...", "client/..."}, "internal/..."

// Where C may stand: import "C", and .c, .h and .S files.
var cAllowed = []fence{
	{"C", []string{
		"cgo/jemalloc",              // mallctl, the configuration, the backtrace hook
		"cgo/jemalloc/internal/...", // what tests allocate
		"internal/zk",               // libzookeeper
		"internal/zk/internal/...",  // what its tests need of C
		"test/bench/...",            // the plain C program to compare with
		"cgo/agent/lib/...",         // the library that is preloaded, which no Go package is linked with
		"test/leaks/testdata/...",   // the leaks that profiles are tested on
		"test/agent/testdata/...",   // what programs under the agent allocate
	}, "C is hard to get right and hard to build: it stays where it is tested for that"},
}

// maxLines is where a file is no longer one idea.
const maxLines = 700

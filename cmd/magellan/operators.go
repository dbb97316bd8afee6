package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"magellan/internal/admin"
	"magellan/internal/cache"
)

// held is what operators can ask the cache, and tell it. Its methods are called by any
// number of goroutines at once, and read nothing from ZooKeeper.
type held interface {
	// Problems lists what is wrong with the data, in the order in which it is shown.
	Problems() []cache.Problem
	// Explain returns false for a path under which the cache never holds anything. path
	// is absolute, and whatever the request had.
	Explain(path string) (cache.Explanation, bool)
	// Accept reports whether there was anything to accept at a znode's path.
	Accept(path string) bool
}

var _ held = (*cache.Cache)(nil)

// bothCaches is what operators can ask two caches. The first one is asked first about a path.
type bothCaches [2]*cache.Cache

var _ held = bothCaches{}

// Problems implements [held].
func (b bothCaches) Problems() []cache.Problem {
	return append(b[0].Problems(), b[1].Problems()...)
}

// Explain implements [held].
func (b bothCaches) Explain(path string) (cache.Explanation, bool) {
	x, ok := b[0].Explain(path)
	if ok {
		return x, true
	}
	return b[1].Explain(path)
}

// Accept implements [held].
func (b bothCaches) Accept(path string) bool { return b[0].Accept(path) || b[1].Accept(path) }

// cacheRoutes are what operators can ask about what is held.
func cacheRoutes(h held) []admin.Route {
	get := []string{http.MethodGet, http.MethodHead}
	return []admin.Route{
		{Methods: get, Path: "/admin/problems", About: "znodes that do not parse, may not be read, or have lost too much at once", Handler: problemsHandler(h)},
		{Methods: get, Path: "/admin/cache/*", About: "what the cache knows of a znode: /admin/cache/ and the znode's path", Handler: explainHandler(h)},
		{Methods: []string{http.MethodPost}, Path: "/admin/accept/*", About: "let a loss through that the shrink guard holds back, or have answers go on without a znode that cannot be read: /admin/accept/ and the znode's path", Handler: acceptHandler(h)},
	}
}

// znodeProblem is a znode that does not parse, may not be read, or has lost too much
// at once.
type znodeProblem struct {
	// Path is the znode's path.
	Path string `json:"path"`
	// Error says what is wrong with it.
	Error string `json:"error"`
	// Since is when this process first saw it so.
	Since time.Time `json:"since"`
	// Zxid is the transaction that wrote the unreadable bytes.
	Zxid int64 `json:"zxid"`
	// ServedZxid is the transaction of the last good value, which goes on being
	// served; 0 where there is none.
	ServedZxid int64 `json:"served_zxid"`
}

// znodeEntry is what the cache knows of one znode.
type znodeEntry struct {
	// Path is the znode's path, Kind what it holds.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Held: the cache has it, or that there is none. Value is what is served,
	// in words, Zxid the transaction that wrote it, 0 for an absent znode.
	Held  bool   `json:"held"`
	Value string `json:"value,omitempty"`
	Zxid  int64  `json:"zxid"`
	// Cache is HIT, UPDATING or STALE, as the header X-Cache of an answer would be now.
	Cache string `json:"cache,omitempty"`
	// AgeSeconds is the time since the value was last known to be true.
	AgeSeconds float64 `json:"age_seconds"`
	// Watched: a watch on the server vouches for the value. Reading: a read is
	// under way.
	Watched bool `json:"watched"`
	Reading bool `json:"reading"`
	// Session is the number of the cache's session that carries the watch,
	// SessionID ZooKeeper's name for it, in hexadecimal as its logs have it.
	Session   int    `json:"session"`
	SessionID string `json:"session_id"`
	// Restored: the value is a snapshot's, and ZooKeeper has not been read since.
	Restored bool `json:"restored"`
	// HeldBack: the shrink guard serves the value in place of what ZooKeeper
	// holds, until that is accepted.
	HeldBack bool `json:"held_back"`
	// Heat is in how many different seconds the znode was asked for.
	Heat uint32 `json:"heat"`
	// Problem is what is wrong with it, nil if nothing is.
	Problem *znodeProblem `json:"problem,omitempty"`
}

func problemsHandler(h held) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		problems := []znodeProblem{} // [] and not null
		for _, p := range h.Problems() {
			problems = append(problems, znodeProblem(p))
		}
		admin.WriteJSON(w, http.StatusOK, map[string][]znodeProblem{"problems": problems})
	}
}

func explainHandler(h held) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := znodePath(r, "/admin/cache")
		x, ok := h.Explain(path)
		if !ok {
			admin.WriteProblem(w, http.StatusNotFound, "no znode that the cache holds has the path "+path+
				": a shop's is made of --root, its bucket and its name")
			return
		}
		e := znodeEntry{
			Path: x.Path, Kind: x.Kind, Held: x.Held, Value: x.Value, Zxid: x.Zxid, Cache: x.Cache, AgeSeconds: x.Age.Seconds(),
			Watched: x.Watched, Reading: x.Reading, Restored: x.Restored, HeldBack: x.HeldBack,
			Session: x.Session, SessionID: fmt.Sprintf("%#x", uint64(x.SessionID)), Heat: x.Heat, Problem: (*znodeProblem)(x.Problem),
		}
		admin.WriteJSON(w, http.StatusOK, e)
	}
}

func acceptHandler(h held) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := znodePath(r, "/admin/accept")
		if !h.Accept(path) {
			admin.WriteProblem(w, http.StatusNotFound, "there is nothing to accept at "+path+": /admin/problems lists what is held back or cannot be read")
			return
		}
		admin.WriteJSON(w, http.StatusOK, map[string]string{"accepted": path})
	}
}

// znodePath is what stands behind prefix in a request's path, decoded, with
// exactly one slash in front.
func znodePath(r *http.Request, prefix string) string {
	return "/" + strings.TrimLeft(strings.TrimPrefix(r.URL.Path, prefix), "/")
}

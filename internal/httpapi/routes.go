package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"magellan/internal/discovery"
)

// route is one path of the API, with one method. Where that is GET, there is HEAD.
type route struct {
	method, path string
	// handle answers the route's questions; nil for a route whose requests are no question.
	handle  handler
	metrics *routeMetrics
	// named: the last element of the path is a name. deep: it may have slashes in it, as the
	// names of services have. In other names a slash has to be written %2F.
	named, deep bool
	// root: the name may be empty, so that the path ends with a slash.
	root bool
	// negotiates: the answer depends on what the client accepts, and has URIs in it.
	negotiates bool
	// waits: the answer has a basis that says what it depends on, so a client can wait for
	// another answer.
	waits bool
	// query has the parameters that the query may have. If the answer is about data, other
	// parameters are refused: a client that asks for /v1/regions?format=text, or for a shop
	// with ?max-age=5, believes that the parameter has an effect.
	query []string
	// of is what the answers are about.
	of domain
	// anyQuery: the query may be anything, because the answer does not depend on it.
	anyQuery bool
}

// domain is what a route is about. A server need not serve all domains.
type domain uint8

const (
	ofServer domain = iota // about the server itself
	ofShops
	ofServices
	ofZnodes
)

// serves returns an error unless the server has the answers of a domain.
func (s *Server) serves(of domain) error {
	switch {
	case of == ofShops && s.service == nil:
		return &requestError{kindNotServed, "this server serves no shops, because it was started for other people's services only: give --root as well"}
	case of == ofServices && s.services == nil:
		return &requestError{kindNotServed, "this server serves no services: start it with --services LAYOUT:PATH"}
	case of == ofZnodes && s.znodes == nil:
		return &requestError{kindNotServed, "this server shows no znodes: start it with --znodes PATH"}
	}
	return nil
}

// watcher returns what notifies of changes of a domain that is served.
func (s *Server) watcher(of domain) discovery.Watcher {
	switch of {
	case ofServices:
		return s.services
	case ofZnodes:
		return s.znodes
	default:
		return s.service
	}
}

// addRoutes has the list of all routes. The paths are written as in openapi.json.
func (s *Server) addRoutes() {
	for _, r := range []*route{
		{method: http.MethodGet, path: "/v1/shops/{shop}", of: ofShops, handle: s.getShop, waits: true},
		{method: http.MethodPost, path: "/v1/shops/lookup", of: ofShops, handle: s.lookupShops},
		{method: http.MethodGet, path: "/v1/placement", of: ofShops, handle: s.getPlacement, waits: true, query: []string{"shop", "policy", "exclude", "prefer"}},
		{method: http.MethodGet, path: "/v1/regions", of: ofShops, handle: s.getRegions, waits: true},
		{method: http.MethodGet, path: "/v1/regions/{region}", of: ofShops, handle: s.getRegion, waits: true},
		{method: http.MethodGet, path: "/v1/datacenters", of: ofShops, handle: s.getDatacenters, waits: true},
		{method: http.MethodGet, path: "/v1/datacenters/{datacenter}", of: ofShops, handle: s.getDatacenter, waits: true},
		{method: http.MethodGet, path: "/v1/bad-citizens", of: ofShops, handle: s.getBadCitizens, waits: true, query: []string{"format", "since"}},
		{method: http.MethodGet, path: "/v1/bad-citizens/{ip}", of: ofShops, handle: s.getBadCitizen, waits: true},
		{method: http.MethodGet, path: "/v1/services", of: ofServices, handle: s.getServices, waits: true, query: []string{"mount"}},
		{method: http.MethodGet, path: "/v1/services/{service}", deep: true, of: ofServices, handle: s.getService, waits: true, query: []string{"mount", "tag", "status", "zone", "format"}},
		{method: http.MethodPost, path: "/v1/services/lookup", of: ofServices, handle: s.lookupServices, query: []string{"mount", "tag", "status", "zone"}},
		{method: http.MethodGet, path: "/v1/sd/prometheus", of: ofServices, handle: s.getPrometheus, query: []string{"mount", "service", "tag", "status", "zone"}},
		{method: http.MethodGet, path: "/v1/agent/self", of: ofServices, handle: s.getConsulSelf, query: consulParameters},
		{method: http.MethodGet, path: "/v1/catalog/services", of: ofServices, handle: s.getConsulServices, query: consulParameters},
		{method: http.MethodGet, path: "/v1/catalog/service/{service}", deep: true, of: ofServices, handle: s.getConsulService, query: append([]string{"tag"}, consulParameters...)},
		{method: http.MethodGet, path: "/v1/health/service/{service}", deep: true, of: ofServices, handle: s.getConsulHealth, query: append([]string{"tag", "passing"}, consulParameters...)},
		{method: http.MethodGet, path: "/v1/health/state/{state}", of: ofServices, handle: s.getConsulState, query: consulParameters},
		{method: http.MethodPost, path: "/v3/discovery:endpoints", of: ofServices, handle: s.postEndpoints},
		{method: http.MethodGet, path: "/v1/znodes/{path}", deep: true, root: true, of: ofZnodes, handle: s.getZnode, waits: true, query: []string{"view"}},
		{method: http.MethodGet, path: "/znodes/v1/{path}", deep: true, root: true, negotiates: true, of: ofZnodes, handle: s.getGateway, query: []string{"view", "dataformat", "callback", "session"}},
		{method: http.MethodGet, path: "/healthz", handle: s.getHealth, anyQuery: true},
		{method: http.MethodGet, path: "/readyz", handle: s.getReadiness, anyQuery: true},
		{method: http.MethodGet, path: "/openapi.json", handle: s.getOpenAPI, anyQuery: true},
	} {
		s.addRoute(r, func(x *exchange, c echo.Context) error {
			if err := s.serves(r.of); err != nil {
				return err
			}
			if err := x.readQuestion(c); err != nil {
				return err
			}
			return x.serve()
		})
		if r.waits {
			s.watched[r.path] = r
		}
	}
	// A stream has no question of its own: it asks those of its keys.
	s.addRoute(&route{method: http.MethodGet, path: "/v1/watch"}, func(x *exchange, _ echo.Context) error { return s.watch(x) })
}

// addRoute has Echo call serve for the requests of a route.
func (s *Server) addRoute(r *route, serve func(*exchange, echo.Context) error) {
	r.metrics = s.metrics.route(r.path)
	r.named = strings.HasSuffix(r.path, "}")
	if r.named && !r.deep {
		s.shallow = append(s.shallow, r.path[:strings.IndexByte(r.path, '{')])
	}
	if r.root {
		s.roots = append(s.roots, r.path[:strings.IndexByte(r.path, '{')])
	}
	path := strings.NewReplacer(":", `\:`, "{", ":", "}", "").Replace(r.path) // as Echo writes it
	handler := func(c echo.Context) error {
		x := exchangeOf(c)
		x.route = r
		return serve(x, c)
	}
	paths := []string{path}
	if r.root { // Echo takes nothing for no name
		paths = append(paths, s.roots[len(s.roots)-1])
	}
	for _, path := range paths {
		s.echo.Add(r.method, path, handler)
		if r.method == http.MethodGet {
			s.echo.Add(http.MethodHead, path, handler)
		}
	}
}

// hasRoute reports whether a path may be a route's, by its slashes. If a path's last element
// is a parameter, Echo would take "42/" and "42/x" for names.
func (s *Server) hasRoute(path string) bool {
	for _, start := range s.shallow {
		if rest, ok := strings.CutPrefix(path, start); ok && strings.Contains(rest, "/") {
			return false
		}
	}
	if strings.HasSuffix(path, "/") {
		return slices.Contains(s.roots, path)
	}
	return !strings.Contains(path, "//")
}

// rawPath is the path of u as Echo takes it.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.Path
}

// exchangeOf returns the exchange that ServeHTTP put under Echo's context.
func exchangeOf(c echo.Context) *exchange { return c.Response().Writer.(*exchange) }

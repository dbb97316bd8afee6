package readers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	xds "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"magellan/test/world"
)

const assignmentType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

// envoy asks for endpoints as Envoy does by REST: with Envoy's own types for the requests and the answers.
type envoy struct {
	*world.World
	url string
	// snake: names of fields are written as in .proto files, as Envoy does. JSON of protobuf has them in
	// camelCase as well, which go-control-plane writes.
	snake bool
}

func newEnvoy(w *world.World) *envoy {
	w.Helper()
	return &envoy{World: w, url: "http://" + w.Serve() + "/v3/discovery:endpoints", snake: true}
}

// send asks for services. version is that of the last answer.
func (e *envoy) send(version string, services ...string) (status int, body []byte) {
	e.Helper()
	request, err := protojson.MarshalOptions{UseProtoNames: e.snake}.Marshal(&xds.DiscoveryRequest{
		VersionInfo: version,
		Node: &core.Node{
			Id: "sidecar~10.0.0.1", Cluster: "web", UserAgentName: "envoy",
			Locality: &core.Locality{Region: "eu", Zone: "z1"},
			UserAgentVersionType: &core.Node_UserAgentBuildVersion{
				UserAgentBuildVersion: &core.BuildVersion{},
			},
		},
		ResourceNames: services,
		TypeUrl:       assignmentType,
	})
	e.Must(err)
	resp, err := http.Post(e.url, "application/json", bytes.NewReader(request))
	e.Must(err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	e.Must(err)
	return resp.StatusCode, body
}

// fetch asks for services and decodes the answer as strictly as can be: a field that the types do
// not have is an error, and so is a value that Envoy would refuse.
func (e *envoy) fetch(services ...string) (version string, all []*endpoint.ClusterLoadAssignment, err error) {
	e.Helper()
	status, body := e.send("", services...)
	if status != http.StatusOK {
		return "", nil, fmt.Errorf("%d %s", status, body)
	}
	var answer xds.DiscoveryResponse
	e.Must(protojson.Unmarshal(body, &answer))
	e.Must(answer.ValidateAll())
	if answer.TypeUrl != assignmentType || answer.VersionInfo == "" {
		e.Fatalf("the answer is a %q of version %q", answer.TypeUrl, answer.VersionInfo)
	}
	for _, resource := range answer.Resources {
		var one endpoint.ClusterLoadAssignment
		e.Must(resource.UnmarshalTo(&one))
		e.Must(one.ValidateAll())
		all = append(all, &one)
	}
	return answer.VersionInfo, all, nil
}

// said writes an assignment as "ZONE: HOST:PORT HEALTH WEIGHT, ..." for each locality.
func said(a *endpoint.ClusterLoadAssignment) string {
	var localities []string
	for _, l := range a.Endpoints {
		var endpoints []string
		for _, e := range l.LbEndpoints {
			addr := e.GetEndpoint().Address.GetSocketAddress()
			text := fmt.Sprintf("%s:%d %v", addr.Address, addr.GetPortValue(), e.HealthStatus)
			if e.LoadBalancingWeight != nil {
				text += fmt.Sprint(" ", e.LoadBalancingWeight.Value)
			}
			endpoints = append(endpoints, text)
		}
		localities = append(localities, fmt.Sprintf("%s: %s", l.Locality.GetZone(), strings.Join(endpoints, ", ")))
	}
	return strings.Join(localities, "; ")
}

// want waits until services have these assignments, in order. It returns their version.
func (e *envoy) want(services []string, want ...string) (version string) {
	e.Helper()
	e.Eventually(fmt.Sprint("endpoints of ", services), func() error {
		v, all, err := e.fetch(services...)
		if err != nil {
			return err
		}
		var got []string
		for i, one := range all {
			if one.ClusterName != services[i] {
				e.Fatalf("assignment %d is of %q, want %q", i, one.ClusterName, services[i])
			}
			got = append(got, said(one))
		}
		version = v
		return equal(got, want)
	})
	return version
}

// TestEnvoy: Envoy's types take the answers, whatever the instances are like.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "serverset:/svc")
	e := newEnvoy(w)
	register(w, "cart", "a", "10.2.0.7", 8080, spring(`"zone":"z2","weight":"3","version":"7"`))
	register(w, "cart", "b", "2001:db8::7", 8080, "")
	register(w, "cart", "c", "cart.example", 8080, "") // Envoy refuses names
	register(w, "cart", "d", "10.2.0.8", 8080, spring(`"zone":"z1","instance_status":"OUT_OF_SERVICE"`))
	register(w, "cart", "e", "10.2.0.9", 8080, spring(`"zone":"z2","instance_status":"DOWN"`))
	w.Put("/services/cart/f", `{"name":"cart","id":"f","address":"10.2.0.10","port":null,"sslPort":null}`) // nor a host without a port
	w.Put("/svc/web/prod/blog/member_1", `{"serviceEndpoint":{"host":"10.3.0.1","port":8080},"additionalEndpoints":{},"status":"ALIVE","shard":3}`)
	w.Put("/svc/web/prod/blog/vector_1", `{"vector":[{"select":"shard=3","weight":0}]}`)
	cart := ": 2001:db8::7:8080 HEALTHY; z1: 10.2.0.8:8080 DRAINING; z2: 10.2.0.7:8080 HEALTHY 3, 10.2.0.9:8080 UNHEALTHY"
	for _, e.snake = range []bool{true, false} {
		e.want([]string{"cart"}, cart)
		// Envoy has no weight 0. Names with slashes, and services that do not exist, are as good as others.
		e.want([]string{"web/prod/blog", "none", "cart"}, ": 10.3.0.1:8080 DRAINING 1", "", cart)
	}
	_, all, err := e.fetch("cart")
	w.Must(err)
	subset := all[0].Endpoints[2].LbEndpoints[0].Metadata.GetFilterMetadata()["envoy.lb"]
	if got := subset.GetFields()["version"].GetStringValue(); got != "7" {
		t.Errorf("the metadata for subsets are %v", subset)
	}
	if status, body := e.send(""); status != http.StatusBadRequest {
		t.Errorf("a request for no service: %d %s", status, body)
	}
}

// TestEnvoyVersion: a client that has the answer gets 304, and each change is another version.
func TestEnvoyVersion(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	e := newEnvoy(w)
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	versions := map[string]string{}
	step := func(want string) {
		t.Helper()
		version := e.want([]string{"cart"}, want)
		if was, ok := versions[version]; ok {
			t.Errorf("%q has the version of %q", want, was)
		}
		versions[version] = want
		for _, e.snake = range []bool{true, false} {
			if status, body := e.send(version, "cart"); status != http.StatusNotModified || len(body) > 0 {
				t.Errorf("a client that has %q: %d %s", want, status, body)
			}
			if status, _ := e.send(version+"0", "cart"); status != http.StatusOK {
				t.Errorf("a client that has another version than %q: %d", want, status)
			}
		}
	}
	step(": 10.2.0.7:8080 HEALTHY")
	register(w, "cart", "a", "10.2.0.8", 8080, "")
	step(": 10.2.0.8:8080 HEALTHY")
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	step(": 10.2.0.7:8080 HEALTHY") // the same as at first is another version too
	w.Delete("/services/cart/a")
	step("")
	register(w, "cart", "b", "10.2.0.7", 8080, "")
	step(": 10.2.0.7:8080 HEALTHY")
	w.Delete("/services/cart")
	e.want([]string{"cart"}, "")
}

// TestEnvoyBroken: Envoy keeps its endpoints if the answer is an error, so what is not known is one.
func TestEnvoyBroken(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	e := newEnvoy(w)
	register(w, "cart", "a", "10.2.0.7", 8080, "")
	w.Put("/services/broken/1", "{broken")
	register(w, "names", "1", "cart.example", 8080, "")
	e.want([]string{"cart"}, ": 10.2.0.7:8080 HEALTHY")
	refused := func(services ...string) {
		t.Helper()
		w.Eventually(fmt.Sprint("the error about ", services), func() error {
			if status, body := e.send("", services...); status != http.StatusServiceUnavailable {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	refused("broken")
	refused("cart", "broken")
	w.Eventually("the error about a service whose instances all have names", func() error {
		if status, body := e.send("", "names"); status < 500 {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	register(w, "broken", "1", "10.2.0.8", 8080, "")
	e.want([]string{"cart", "broken"}, ": 10.2.0.7:8080 HEALTHY", ": 10.2.0.8:8080 HEALTHY")
}

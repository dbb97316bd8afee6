package services

import (
	"fmt"
	"testing"
)

// TestCurator: what a Java program registers with Curator is served as it was told to be, follows
// every change, and is gone soon after the program was killed.
func TestCurator(t *testing.T) {
	t.Parallel()
	w := newServices(t, "curator:/services")
	r := w.curator("/services")
	r.do("put cart a 10.2.0.7 8080 - DYNAMIC blue")
	w.want("cart", "10.2.0.7:8080 UP")
	r.do("put cart b cart.example - 8443 STATIC -")
	w.want("cart", "10.2.0.7:8080 UP", "cart.example:8443/tls UP")
	r.do("put cart c 2001:db8::7 8080 8443 PERMANENT -")
	w.want("cart", "10.2.0.7:8080 UP", "cart.example:8443/tls UP", "2001:db8::7:8080 UP")
	if _, _, all := w.get("cart"); len(all) != 3 || all[0].ID != "a" || all[0].Metadata["payload"] != "blue" || len(all[2].Endpoints) != 2 {
		t.Errorf("cart is %+v", all)
	}
	r.do("put cart a 10.2.0.9 9090 - DYNAMIC green") // an update
	w.want("cart", "10.2.0.9:9090 UP", "cart.example:8443/tls UP", "2001:db8::7:8080 UP")
	r.do("delete cart b")
	w.want("cart", "10.2.0.9:9090 UP", "2001:db8::7:8080 UP")
	r.do("put cart b cart.example - 8443 STATIC -")
	w.want("cart", "10.2.0.9:9090 UP", "cart.example:8443/tls UP", "2001:db8::7:8080 UP")
	r.do("put blog x 10.2.1.1 80 - DYNAMIC_SEQUENTIAL -")
	w.want("blog", "10.2.1.1:80 UP")
	r.do("put blog y 10.2.1.2 80 - DYNAMIC -")
	w.want("blog", "10.2.1.1:80 UP", "10.2.1.2:80 UP")

	// Most of what is registered stays, so that what goes is no accident of the whole ZooKeeper.
	for i := range 6 {
		r.do(fmt.Sprintf("put stays %d 10.2.2.%d 80 - STATIC -", i, i))
	}
	// The program dies: its ephemeral znodes go with its session, and what is permanent stays.
	w.Must(r.cmd.Process.Kill())
	w.want("cart", "cart.example:8443/tls UP", "2001:db8::7:8080 UP")
	if status, cache, all := w.get("blog"); status != 200 || cache == "HIT" && len(all) == 0 {
		t.Errorf("blog has lost all of its instances at once, and is served as %d %s %+v", status, cache, all)
	}
	again := w.curator("/services")
	again.do("put blog z 10.2.1.3 80 - DYNAMIC -")
	again.do("put blog zz 10.2.1.4 80 - DYNAMIC -")
	w.want("blog", "10.2.1.3:80 UP", "10.2.1.4:80 UP")
}

// TestKazoo: what a Python program writes in the layouts that have no library of their own here.
func TestKazoo(t *testing.T) {
	t.Parallel()
	w := newServices(t, "serverset:/svc", "nerve:/nerve", "kafka:/", "plain:/lb", "dubbo:/dubbo", "solr:/solr")
	r := w.kazoo()
	member := func(port int, status string) string {
		return fmt.Sprintf(`{"serviceEndpoint":{"host":"10.3.0.1","port":%d},"additionalEndpoints":{"admin":{"host":"10.3.0.1","port":9990}},"status":"%s","shard":0}`, port, status)
	}
	first := r.do("sequence /svc/web/prod/blog/member_ " + member(8080, "ALIVE"))
	r.do("sequence /svc/web/prod/blog/member_ " + member(8081, "STARTING"))
	w.want("web/prod/blog", "10.3.0.1:8080 UP", "10.3.0.1:8081 STARTING")
	r.do("delete " + first)
	w.want("web/prod/blog", "10.3.0.1:8081 STARTING")
	r.do("delete /svc/web")
	w.want("web/prod/blog", "not found")

	r.do(`sequence /nerve/cart/i-9_ {"host":"10.4.0.1","port":8443,"name":"i-9","weight":2,"labels":{"az":"a"}}`)
	w.want("cart", "10.4.0.1:8443 UP")
	r.do(`put /brokers/ids/1 {"version":5,"host":null,"port":-1,"jmx_port":-1,"timestamp":"1764300000000","endpoints":["CLIENT://b1:9092","TLS://b1:9093"],"listener_security_protocol_map":{"CLIENT":"PLAINTEXT","TLS":"SSL"},"rack":"a","features":{}}`)
	w.want("kafka", "b1:9092 UP")
	r.do("put /lb/web/n_1 10.5.0.1:80")
	r.do("put /lb/web/[2001:db8::1]:81")
	r.do(`put /lb/web/n_2 ["10.5.0.2:80","10.5.0.3:80"]`)
	w.want("web", "2001:db8::1:81 UP", "10.5.0.1:80 UP", "10.5.0.2:80 UP", "10.5.0.3:80 UP")
	r.do("keep /dubbo/com.acme.Cart/providers")
	w.want("com.acme.Cart")
	r.do("put /dubbo/com.acme.Cart/providers/dubbo%3A%2F%2F10.6.0.1%3A20880%2Fcom.acme.Cart%3Fversion%3D1.0")
	w.want("com.acme.Cart", "10.6.0.1:20880 UP")
	r.do("put /solr/live_nodes/10.7.0.1:8983_solr")
	w.want("solr", "10.7.0.1:8983 UP")
}

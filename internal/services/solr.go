package services

import (
	"errors"
	"net/url"
	"strings"
)

// solr is the layout of Apache Solr's live nodes. The name of the znode
// CHROOT/live_nodes/HOST:PORT_CONTEXT is the whole record, where CONTEXT is the path of
// Solr's web application, escaped as in a URL, and mostly "solr":
// https://github.com/apache/solr/blob/main/solr/core/src/java/org/apache/solr/cloud/ZkController.java
//
// Whether clients have to use TLS is a property of the cluster, urlScheme, which stands
// elsewhere. So TLS is never set.
var solr = Layout{
	Name:    "solr",
	Summary: "the live nodes of Apache Solr",
	Base:    baseBelow("live_nodes", "solr"),
	Inside:  flat(Names),
	Decode:  decodeSolr,
}

func decodeSolr(z Znode) (Record, error) {
	// The name of a host may have "_" too. Solr itself, in Utils.getBaseUrlForNodeName,
	// searches for the first one after the first colon.
	colon := strings.IndexByte(z.Name, ':')
	if colon < 0 {
		return Record{}, errors.New("the name is not HOST:PORT_CONTEXT: it has no colon")
	}
	address, context, found := strings.Cut(z.Name[colon:], "_")
	if !found {
		return Record{}, errors.New(`the name is not HOST:PORT_CONTEXT: it has no "_" after the port`)
	}
	e, err := parseHostColonPort(z.Name[:colon] + address)
	if err != nil {
		return Record{}, err
	}
	var m metadata
	if text, err := url.QueryUnescape(context); err == nil {
		context = text
	}
	if context != "" {
		m.add("context", context)
	}
	return oneInstance(z, z.Name, Instance{Endpoints: []Endpoint{e}}, m)
}

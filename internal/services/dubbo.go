package services

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// dubbo is the layout of Apache Dubbo's registry of interfaces. The name of the znode
// BASE/INTERFACE/providers/URL is the whole record: the URL of a provider, escaped as one
// element of a path, such as dubbo%3A%2F%2F10.2.0.7%3A20880%2Fcom.acme.Cart%3Fversion%3D1.0.
// https://github.com/apache/dubbo/blob/3.2/dubbo-registry/dubbo-registry-zookeeper/src/main/java/org/apache/dubbo/registry/zookeeper/ZookeeperRegistry.java
//
// The siblings of "providers" are not read. Of these, configurators and routers can change
// what a Dubbo client makes of a provider, such as its weight; magellan does not follow them.
//
// The service has the name of the interface. Providers of all groups and versions are its
// instances, and metadata tells these apart.
var dubbo = Layout{
	Name:    "dubbo",
	Summary: "Apache Dubbo's registry of interfaces",
	Inside:  insideDubbo,
	Service: dubboService,
	Dir:     dubboDir,
	Decode:  decodeDubbo,
}

const (
	dubboProviders = "providers"
	// dubboWeight is the weight of a provider that does not have one: DEFAULT_WEIGHT in
	// https://github.com/apache/dubbo/blob/3.2/dubbo-cluster/src/main/java/org/apache/dubbo/rpc/cluster/Constants.java
	dubboWeight = 100
)

func insideDubbo(dir string) Inside {
	_, category, below := strings.Cut(dir, "/")
	switch {
	case !below:
		return Directories
	case category == dubboProviders:
		return Names
	default:
		return Nothing
	}
}

// dubboService is the inverse of dubboDir. It returns "" for a directory that has no
// providers.
func dubboService(dir string) string {
	escaped, found := strings.CutSuffix(dir, "/"+dubboProviders)
	if !found {
		return ""
	}
	if name, err := url.QueryUnescape(escaped); err == nil && escapeJava(name) == escaped {
		return name
	}
	return escaped // Dubbo does not write such a name
}

func dubboDir(service string) string { return escapeJava(service) + "/" + dubboProviders }

// escapeJava escapes as Java's URLEncoder does, which differs from Go in two characters.
func escapeJava(s string) string {
	return strings.NewReplacer("~", "%7E", "%2A", "*").Replace(url.QueryEscape(s))
}

func decodeDubbo(z Znode) (Record, error) {
	text, err := url.QueryUnescape(z.Name)
	if err != nil {
		return Record{}, errors.New("the name is no escaped URL")
	}
	u, err := parseDubboURL(strings.ToValidUTF8(text, "\uFFFD"))
	if err != nil {
		return Record{}, err
	}
	// Dubbo's own rules are UrlUtils.isMatch and RegistryDirectory.toInvokers.
	if category := u.value("category"); category != "" && category != dubboProviders {
		return Record{}, fmt.Errorf("the URL is of the category %s, not of a provider", quote(category))
	}
	if side := u.value("side"); side == "consumer" || u.protocol == "consumer" {
		return Record{}, errors.New("the URL is that of a consumer, not of a provider")
	}
	i := Instance{
		Endpoints: []Endpoint{u.endpoint},
		Weight:    dubboWeight,
		Weighted:  true,
	}
	if w, err := strconv.Atoi(u.value("weight")); err == nil {
		i.Weight = float64(max(w, 0))
	}
	if u.flag("disabled", false) || !u.flag("enabled", true) {
		i.Status = OutOfService
	}
	m := u.parameters
	m.add("protocol", u.protocol)
	if u.path != "" {
		m.add("path", u.path)
	}
	return oneInstance(z, u.id(z.Name), i, m)
}

// dubboURL is a URL as Dubbo's class URL has it.
type dubboURL struct {
	protocol   string
	endpoint   Endpoint
	path       string   // without a slash at its start
	parameters metadata // if a key is there twice, the last one counts
}

// parseDubboURL parses PROTOCOL://[USER[:PASSWORD]@]HOST[:PORT][/PATH][?KEY=VALUE&...]. Dubbo
// has its own parser too, because its keys and values are not escaped. The user is left out,
// because a password should not be published.
func parseDubboURL(s string) (u dubboURL, err error) {
	rest, query, _ := strings.Cut(s, "?")
	protocol, rest, found := strings.Cut(rest, "://")
	if !found || protocol == "" {
		return u, errors.New("the name is no escaped URL: it has no protocol")
	}
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	if u.endpoint, err = parseHostColonPort(authority); err != nil {
		return u, err
	}
	u.protocol, u.path = protocol, path
	u.parameters = make(metadata, 0, strings.Count(query, "&")+3) // two more are added
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key == "" {
			continue
		}
		u.parameters = append(u.parameters, Pair{key, value})
	}
	u.endpoint.TLS = u.flag("ssl-enabled", false) || protocol == "https"
	return u, nil
}

func (u *dubboURL) value(key string) string {
	for _, pair := range slices.Backward(u.parameters) {
		if pair.Key == key {
			return pair.Value
		}
	}
	return ""
}

// flag returns a parameter that is true or false. As in Java all but "true" is false.
func (u *dubboURL) flag(key string, byDefault bool) bool {
	value := u.value(key)
	if value == "" {
		return byDefault
	}
	return strings.EqualFold(value, "true")
}

// id returns a short form of the URL. The hash of the znode's name makes it unique: two
// providers may differ in any parameter.
func (u *dubboURL) id(name string) string {
	var b strings.Builder
	b.WriteString(u.protocol + "://" + hostPort(u.endpoint) + "/")
	if group := u.value("group"); group != "" {
		b.WriteString(group + "/")
	}
	b.WriteString(u.path)
	if version := u.value("version"); version != "" {
		b.WriteString(":" + version)
	}
	b.WriteString("#" + shortHash(name))
	return b.String()
}

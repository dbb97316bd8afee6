// Package readers has no code of its own. Its tests point programs and libraries that discover
// services at a magellan: clients of Consul and of Envoy's API, Prometheus, HAProxy and nginx. None
// of them knows of magellan.
package readers

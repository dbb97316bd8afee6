// Package zkmetrics counts in Prometheus what the ZooKeeper clients of a process do. It
// is apart from package zk so that a program that links the client need not link
// Prometheus.
package zkmetrics

// Package znodestest has znodes in memory, for tests of what answers about them.
package znodestest

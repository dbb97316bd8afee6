// Command bench measures magellan beside what people would use instead, in
// one run: servers and clients take turns, round after round, so that what the
// machine does meanwhile hits all of them alike. What counts is the ratio; the
// absolute numbers belong to the machine.
//
//	bench run                     measures, and writes a Markdown report
//	bench serve, fill, hold ...   the programs that are measured beside magellan;
//	                              run starts them, each a process of its own
//
// It measures the real thing: the magellan binary over a real ZooKeeper, driven
// by wrk. All listens on loopback; all that is started ends with the run. A goal
// that is missed is reported and is no failure; a server that answers wrongly is.
//
// test/bench/run.sh builds what is needed and starts it.
package main

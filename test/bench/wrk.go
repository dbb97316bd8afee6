package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"magellan/internal/childproc"
)

//go:embed wrk.lua
var wrkScript []byte

// load is one run of wrk, with one thread.
type load struct {
	connections int
	duration    time.Duration
	file        string // of requests, see wrk.lua
	post        string // the path to POST to; empty for GET
	pinned      bool   // wrk and server share the first core
}

// loadResult is what wrk and /proc have measured.
type loadResult struct {
	Requests     int64
	Microseconds int64
	P50, P99     float64 // microseconds
	Bytes        int64   // of the answers, heads included
	Errors       int64

	CPU        time.Duration // of the server
	BackendCPU time.Duration // of ZooKeeper, while this went on
}

func (r loadResult) perSecond() float64 {
	return float64(r.Requests) / (time.Duration(r.Microseconds) * time.Microsecond).Seconds()
}

func (r loadResult) bytesPerAnswer() float64 { return float64(r.Bytes) / float64(r.Requests) }

func (r loadResult) cpuPerRequest() float64 { return perRequest(r.CPU, r.Requests) }

func (r loadResult) backendCPUPerRequest() float64 { return perRequest(r.BackendCPU, r.Requests) }

// perRequest returns microseconds.
func perRequest(d time.Duration, n int64) float64 {
	return float64(d) / float64(time.Microsecond) / float64(n)
}

// wrk puts a load on a server. Anything but a 2xx or 3xx is an error.
func (r *run) wrk(ctx context.Context, s *server, l load) (loadResult, error) {
	script := filepath.Join(r.dir, "wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return loadResult{}, err
	}
	args := []string{"-t1", "-c" + strconv.Itoa(l.connections), "-d" + strconv.Itoa(int(l.duration.Seconds())) + "s",
		"--timeout", "10s", "-s", script, s.url, "--", l.file}
	if l.post != "" {
		args = append(args, l.post)
	}
	cmd := exec.Command("wrk", args...)
	if l.pinned {
		cmd = exec.Command("taskset", append([]string{"-c", "0", "wrk"}, args...)...)
		if err := s.pin(0); err != nil {
			return loadResult{}, err
		}
		defer s.pin(-1)
	}
	cpu, err := s.cpu()
	if err != nil {
		return loadResult{}, err
	}
	backend, err := r.backendCPU()
	if err != nil {
		return loadResult{}, err
	}
	out, err := childproc.Run(ctx, cmd)
	if err != nil {
		return loadResult{}, err
	}
	var result loadResult
	_, line, _ := bytes.Cut(out, []byte("\nresult "))
	if err := json.Unmarshal(line, &result); err != nil {
		return result, fmt.Errorf("wrk on %s: %w: %s", s.name, err, out)
	}
	if result.Errors != 0 || result.Requests == 0 {
		return result, fmt.Errorf("wrk on %s: %d requests, %d errors: %s%v", s.name, result.Requests, result.Errors, out, s.Check())
	}
	after, err := s.cpu()
	if err != nil {
		return result, err
	}
	backendAfter, err := r.backendCPU()
	result.CPU, result.BackendCPU = after-cpu, backendAfter-backend
	return result, err
}

// backendCPU returns the processor time of ZooKeeper, if one runs.
func (r *run) backendCPU() (time.Duration, error) {
	if r.zookeeper == nil {
		return 0, nil
	}
	return cpuOf(r.zookeeper.Pid())
}

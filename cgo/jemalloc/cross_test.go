package jemalloc_test

import (
	"os"
	"os/exec"
	"testing"
)

// The code for arm64 compiles. Running it takes such a machine.
func TestCompilesForArm64(t *testing.T) {
	const gcc = "aarch64-linux-gnu-gcc"
	if _, err := exec.LookPath(gcc); err != nil {
		t.Skipf("%v: install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross", err)
	}
	build := exec.Command("go", "build", ".")
	// jemalloc's header is this machine's, found after those of the other one.
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=1", "CC="+gcc,
		"CGO_CFLAGS="+os.Getenv("CGO_CFLAGS")+" -O2 -idirafter /usr/include")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

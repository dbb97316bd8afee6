package proof

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"magellan/internal/zk/zktest"
)

// TestProof is a short run of the real binary, built with the race detector. Its
// seed is another one each time; `dist/soak proof -seed N -rounds 1 -round 10s
// -readers 2` repeats one.
func TestProof(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if err := zktest.Installed(); errors.Is(err, zktest.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	binary := filepath.Join(t.TempDir(), "magellan")
	build := exec.Command("go", "build", "-race", "-o", binary, "./cmd/magellan")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	cfg := Config{Magellan: binary, Seed: uint64(rand.Uint32()), Rounds: 1, Round: 10 * time.Second, Readers: 2, Dir: dir, Out: t.Output()}
	t.Logf("seed %d", cfg.Seed)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	report, err := Run(ctx, cfg)
	if err != nil || len(report.Violations) > 0 {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("the end of %s:\n%s", filepath.Base(name), text[max(0, len(text)-4<<10):])
		}
	}
	if err != nil {
		t.Error(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	if report.Reads < 500 || report.Writes < 50 || report.Faults < 3 {
		t.Errorf("too little happened to prove anything: %v", report)
	}
}

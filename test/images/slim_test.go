package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// The goal, in bytes: of the layer that is magellan's own; and what Debian's
// libraries may add to it.
const (
	maxMagellan = 25_000_000
	maxImage    = 33_000_000
)

// It answers, dumps, and names C functions with file and line, though it may
// write nowhere and has no rights.
func TestSlimServes(t *testing.T) {
	slim := image(t, "magellan")
	h := newHost(t)
	c := h.start(t, serving("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--env=MALLOC_CONF=lg_prof_sample:10", slim)...)
	c.waitHealthy(t)
	c.waitReady(t)

	api, admin := c.url(t, "8080"), c.url(t, "6060")
	if body := want(t, http.StatusOK, http.MethodGet, api+"/v1/shops/42"); !strings.Contains(body, `"region":"us-east1"`) {
		t.Errorf("shop 42: %s", body)
	}
	want(t, http.StatusCreated, http.MethodPost, admin+"/admin/jeprof/dump")
	want(t, http.StatusOK, http.MethodGet, admin+"/admin/jeprof/ui/")

	native, err := profile.ParseData([]byte(want(t, http.StatusOK, http.MethodGet, admin+"/debug/pprof/native")))
	if err != nil {
		t.Fatal(err)
	}
	// Of libzookeeper, and of the cgo packages; Go's names come from tables of its own.
	for _, file := range []string{"src/zookeeper.c", "magellan/internal/zk/callback.c", "magellan/internal/zk/async.go"} {
		if !slices.ContainsFunc(native.Location, func(l *profile.Location) bool {
			return slices.ContainsFunc(l.Line, func(line profile.Line) bool {
				return strings.HasSuffix(line.Function.Filename, file) && line.Line > 0 && line.Function.Name != ""
			})
		}) {
			t.Errorf("no frame of the native profile is in %s", file)
		}
	}
	if t.Failed() {
		for _, f := range native.Function {
			t.Log(f.Name, f.Filename)
		}
	}

	if user := c.inspect(t, "{{.Config.User}}"); user != "65532:65532" {
		t.Errorf("it runs as %q", user)
	}
	status, err := os.ReadFile("/proc/" + c.inspect(t, "{{.State.Pid}}") + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(status, []byte("\nUid:\t65532\t65532\t65532\t65532\n")) {
		t.Errorf("its process:\n%s", status)
	}
	if out, err := run("docker", "exec", c.id, "sh", "-c", "true"); err == nil {
		t.Errorf("it has a shell: %s", out)
	}
	docker(t, "stop", "--time=45", c.id)
	if code := c.inspect(t, "{{.State.ExitCode}}"); code != "0" {
		t.Errorf("exit code %s once stopped", code)
	}
}

// It holds what is needed, and nothing of those who built it.
func TestSlimContents(t *testing.T) {
	slim := image(t, "magellan")
	shells := []string{"sh", "bash", "dash", "ash", "busybox", "perl", "python3", "apt", "dpkg", "su", "mount"}
	files := tar.NewReader(bytes.NewReader(export(t, slim)))
	var names []string
	for {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, file.Name)
		if slices.Contains(shells, path.Base(file.Name)) && file.FileInfo().Mode().IsRegular() {
			t.Errorf("it has %s", file.Name)
		}
		if file.FileInfo().Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			t.Errorf("%s is setuid", file.Name)
		}
		if file.Size > 0 && file.Size < 1<<20 {
			content, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"BEGIN CERTIFICATE", "GOPROXY="} {
				if bytes.Contains(content, []byte(secret)) {
					t.Errorf("%s holds %q", file.Name, secret)
				}
			}
		}
	}
	if !slices.Contains(names, "usr/bin/magellan") {
		t.Errorf("no usr/bin/magellan in %v", names)
	}
	noTraces(t, slim)

	var config struct {
		Labels      map[string]string
		StopSignal  string
		Healthcheck struct{ Test []string }
	}
	if err := json.Unmarshal([]byte(docker(t, "inspect", "--format", "{{json .Config}}", slim)), &config); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"title", "version", "revision", "licenses"} {
		if config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("no label %s in %v", label, config.Labels)
		}
	}
	if config.StopSignal != "SIGTERM" || !slices.Equal(config.Healthcheck.Test, []string{"CMD", "/usr/bin/magellan", "health"}) {
		t.Errorf("stop signal %q, health check %q", config.StopSignal, config.Healthcheck.Test)
	}
}

// noTraces looks for the builder's settings in what the image tells of itself.
func noTraces(t *testing.T, image string) {
	t.Helper()
	told := docker(t, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image) + docker(t, "inspect", image)
	for _, secret := range []string{"GOPROXY", "GOSUMDB", "BEGIN CERTIFICATE", "_proxy=", "SSL_CERT_FILE"} {
		if strings.Contains(told, secret) {
			t.Errorf("%s tells of %s", image, secret)
		}
	}
}

// Its size is known, and stays.
func TestSlimSize(t *testing.T) {
	slim := image(t, "magellan")
	size := func(image string) int {
		n, err := strconv.Atoi(docker(t, "inspect", "--format", "{{.Size}}", image))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	total, binary := size(slim), 0
	files := tar.NewReader(bytes.NewReader(export(t, slim)))
	for {
		file, err := files.Next()
		if err != nil {
			break
		}
		if file.Name == "usr/bin/magellan" {
			binary = int(file.Size)
		}
	}
	t.Logf("image: %d bytes; magellan: %d; Debian's libraries under it: %d", total, binary, total-binary)
	if binary == 0 || binary > maxMagellan {
		t.Errorf("magellan has %d bytes, want at most %d", binary, maxMagellan)
	}
	if total > maxImage {
		t.Errorf("the image has %d bytes, want at most %d", total, maxImage)
	}
}

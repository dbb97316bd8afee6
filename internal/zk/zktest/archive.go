package zktest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// fromArchive returns the flag by which a JVM maps ZooKeeper's classes from an archive, as
// it does Java's own, instead of reading them from jars and verifying them: a start takes
// two thirds of the processor time. The archive is made in the user's cache when the first
// server is started. Where that fails servers start without it, and a JVM that it does not
// fit ignores it.
var fromArchive = sync.OnceValue(func() string {
	path, err := archivePath()
	if err != nil {
		return ""
	}
	if _, err := os.Stat(path); err != nil && makeArchive(path) != nil {
		return ""
	}
	return "-XX:SharedArchiveFile=" + path
})

// archivePath names the archive after what its contents follow from.
func archivePath() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", err
	}
	cp, err := classPath()
	if err != nil {
		return "", err
	}
	from := sha256.New()
	for _, file := range append(strings.Split(cp, ":"), java) {
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return "", err
		}
		st, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(from, file, st.Size(), st.ModTime().UnixNano())
	}
	return filepath.Join(cache, "magellan", fmt.Sprintf("zookeeper-%x.jsa", from.Sum(nil)[:8])), nil
}

// makeArchive has a server write it when it ends (JEP 350). Other processes may make it
// at the same time.
func makeArchive(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	s, err := reserve(Config{})
	if err != nil {
		return err
	}
	defer s.Close()
	draft := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(draft)
	s.classes = "-XX:ArchiveClassesAtExit=" + draft
	if err := s.startAndWait(); err != nil {
		return err
	}
	if err := s.Stop(); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

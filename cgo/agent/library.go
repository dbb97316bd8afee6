package agent

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
)

// LibraryName is the file name of the agent.
const LibraryName = "libmagellan-agent.so"

// ErrNotBuilt means that the program was built without the agent's library.
var ErrNotBuilt = errors.New("the program was built without the agent")

//go:embed built
var built embed.FS

// Library returns the agent, a shared library for the architecture of this program. If the
// program was built without it, the error is ErrNotBuilt. The caller must not change it.
func Library() ([]byte, error) { return libraryIn(built) }

func libraryIn(files fs.FS) ([]byte, error) {
	library, err := fs.ReadFile(files, "built/libmagellan-agent-"+runtime.GOARCH+".so")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w for %s: build it with make build, which compiles the agent first", ErrNotBuilt, runtime.GOARCH)
	}
	return library, err
}

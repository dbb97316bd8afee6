package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// server is one of the HTTP servers that are measured.
type server struct {
	*process
	url   string
	admin string // magellan's second address
}

// startBaseline starts a serveCmd in a process of its own, with more in its
// environment.
func (r *run) startBaseline(kind string, env ...string) (*server, error) {
	return r.startListening(kind, withEnv(env, exec.Command(r.self, "serve", kind, "--body", r.bodyFile(), "--zookeeper", r.zookeeper.Addr())))
}

// startGozk starts the REST wrapper over gozk.
func (r *run) startGozk() (*server, error) {
	layout, err1 := json.Marshal(layout)
	regions, err2 := json.Marshal(regions())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return r.startListening("gozk", exec.Command(r.cmd.Gozk, "serve", "--zookeeper", r.zookeeper.Addr(),
		"--layout", string(layout), "--regions", string(regions)))
}

// startNginx starts nginx with a configuration of its own: one file for any path.
func (r *run) startNginx() (*server, error) {
	cmd := exec.Command(nginxBinary())
	return r.startListeningWith("nginx", cmd, func(addr string) error {
		conf := filepath.Join(r.dir, "nginx.conf")
		cmd.Args = append(cmd.Args, "-p", r.dir, "-c", conf, "-e", "stderr")
		// nginx's own way to take over a listening socket, for its upgrades.
		cmd.Env = append(os.Environ(), "NGINX=3;")
		return os.WriteFile(conf, fmt.Appendf(nil, nginxConf, r.dir, addr, r.dir, filepath.Base(r.bodyFile())), 0o600)
	})
}

// nginxBinary finds nginx where it is not in everybody's PATH.
func nginxBinary() string {
	if binary, err := exec.LookPath("nginx"); err == nil {
		return binary
	}
	return "/usr/sbin/nginx"
}

// keepalive_requests is raised because the others have no such limit.
const nginxConf = `
daemon off;
user root; # heeded only if started by root, whose temporary directory others cannot read
pid %s/nginx.pid;
worker_processes auto;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	open_file_cache max=16;
	default_type application/json;
	client_body_temp_path nginx-body;
	proxy_temp_path nginx-proxy;
	fastcgi_temp_path nginx-fastcgi;
	uwsgi_temp_path nginx-uwsgi;
	scgi_temp_path nginx-scgi;
	server {
		listen %s;
		root %s;
		location / { try_files /%s =404; }
	}
}
`

// startListening starts a server that takes its socket as file descriptor 3.
func (r *run) startListening(name string, cmd *exec.Cmd) (*server, error) {
	return r.startListeningWith(name, cmd, func(string) error { return nil })
}

// startListeningWith is for commands that must know the address.
func (r *run) startListeningWith(name string, cmd *exec.Cmd, prepare func(addr string) error) (*server, error) {
	addr, handedOver, err := listenOn(cmd)
	if err != nil {
		return nil, err
	}
	err = prepare(addr)
	var p *process
	if err == nil {
		p, err = r.start(name, cmd)
	}
	if err = errors.Join(err, handedOver()); err != nil {
		return nil, err
	}
	return &server{process: p, url: "http://" + addr}, nil
}

// waitAnswers waits until the server answers a GET of path with 200, and returns
// the body.
func (s *server) waitAnswers(ctx context.Context, path string) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = s.Await(ctx, "answer "+path, func() (err error) {
		body, _, err = get(ctx, s.url+path)
		return err
	})
	return body, err
}

func get(ctx context.Context, url string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	return do(req)
}

func do(req *http.Request) ([]byte, http.Header, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: %s: %.200s", req.URL, resp.Status, body)
	}
	return body, resp.Header, nil
}

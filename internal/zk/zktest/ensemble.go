package zktest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Ensemble is a number of servers with one leader.
type Ensemble struct {
	Servers []*Server
}

// NewEnsemble starts n servers and waits until all of them take sessions. Of
// cfg, Dir and Addr must be empty.
func NewEnsemble(n int, cfg Config) (*Ensemble, error) {
	if cfg.Dir != "" || cfg.Addr != "" {
		return nil, errors.New("zktest: an ensemble's servers find their directories and addresses themselves")
	}
	e := &Ensemble{}
	var lines []string
	for i := 1; i <= n; i++ {
		s, err := reserve(cfg)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		s.id, s.classes = i, fromArchive()
		e.Servers = append(e.Servers, s)
		lines = append(lines, fmt.Sprintf("server.%d=%s:%d:%d", i, s.host, quorumPort, electionPort))
	}
	for _, s := range e.Servers {
		s.cluster = lines
		if err := s.start(); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for _, s := range e.Servers {
		if err := s.waitReady(); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// Addrs returns the servers' host:port.
func (e *Ensemble) Addrs() []string {
	var addrs []string
	for _, s := range e.Servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Reroute has a member reach another one's quorum port, by which a follower hears of
// transactions, at another port of the same address: that of a proxy. It takes effect
// with the member's next start.
func (e *Ensemble) Reroute(member, other *Server, port int) {
	member.cluster = slices.Clone(member.cluster)
	member.cluster[other.id-1] = fmt.Sprintf("server.%d=%s:%d:%d", other.id, other.host, port, electionPort)
}

// QuorumAddr returns the host:port at which the other members of an ensemble reach
// the server.
func (s *Server) QuorumAddr() string { return net.JoinHostPort(s.host, fmt.Sprint(quorumPort)) }

// Leader returns the present leader; it waits for one to be elected.
func (e *Ensemble) Leader() (*Server, error) {
	deadline := time.Now().Add(startTimeout)
	for {
		for _, s := range e.Servers {
			if s.mode() == "leader" {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, errors.New("zktest: the ensemble has no leader")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Followers returns the servers that follow at the moment.
func (e *Ensemble) Followers() []*Server {
	var f []*Server
	for _, s := range e.Servers {
		if s.mode() == "follower" {
			f = append(f, s)
		}
	}
	return f
}

// mode returns what srvr says: leader, follower, standalone, or nothing.
func (s *Server) mode() string {
	text, err := s.FourLetter("srvr")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

// Close ends all servers and removes their directories.
func (e *Ensemble) Close() error {
	var errs []error
	for _, s := range e.Servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

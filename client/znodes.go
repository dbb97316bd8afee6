package client

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// Znode is a znode of ZooKeeper, as it is.
type Znode struct {
	Path string
	// Data is what it holds. Nil is nothing, which ZooKeeper tells from an empty text.
	Data []byte
	Stat Stat
	// Children are the names of its children, in order.
	Children []string
}

// Stat is what ZooKeeper says about a znode.
type Stat struct {
	// Version counts the writes of the data, and Cversion those of the list of children.
	Version, Cversion int64
	// Czxid has created the znode, Mzxid has written its data, and Pzxid has changed its children.
	Czxid, Mzxid, Pzxid Zxid
	// Ctime and Mtime are the times of Czxid and Mzxid, by the clock of ZooKeeper's leader.
	Ctime, Mtime time.Time
}

// UnmarshalJSON reads what the API answers.
func (z *Znode) UnmarshalJSON(text []byte) error {
	var got struct {
		Path       string
		Data       *string
		DataBase64 []byte `json:"data_base64"`
		Stat       Stat
		Children   []string
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	*z = Znode{Path: got.Path, Data: got.DataBase64, Stat: got.Stat, Children: got.Children}
	if got.Data != nil {
		z.Data = []byte(*got.Data)
	}
	return nil
}

// Znode asks for the znode at an absolute path, and its children. The server must be told to serve
// it, by --znodes.
func (c *Client) Znode(path string) Question[Znode] {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return Question[Znode]{
		client: c,
		ask:    request{path: "/v1/znodes/" + strings.Join(parts, "/"), query: url.Values{"view": {"json"}}},
		key:    watchKey{ofZnodes, "znode", path},
	}
}

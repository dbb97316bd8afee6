package zookeeper

import (
	"encoding/binary"
	"errors"

	"github.com/Shopify/gozk/internal/zk"
)

// ClientId names a session, with the password that lets a client take it over by
// [Redial]. Whoever has it has the session.
type ClientId struct{ session zk.Session }

// savedLen is the length of what Save makes: the session's id, the highest byte first,
// and its password of 16 bytes.
const savedLen = 8 + len(zk.Session{}.Password)

// LoadClientId returns what [ClientId.Save] has made bytes of, here or in the original.
func LoadClientId(b []byte) (*ClientId, error) {
	if len(b) != savedLen {
		return nil, errors.New("client id size mismatch")
	}
	id := new(ClientId)
	id.session.ID = int64(binary.BigEndian.Uint64(b))
	copy(id.session.Password[:], b[8:])
	return id, nil
}

// Save returns bytes for [LoadClientId]. The error is nil.
func (c *ClientId) Save() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, savedLen), uint64(c.session.ID))
	return append(b, c.session.Password[:]...), nil
}

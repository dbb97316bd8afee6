package zookeeper

// ChangeFunc returns a node's new value from the one that it has. oldStat is nil, and
// oldValue empty, if there is no such node. It may be called more than once.
type ChangeFunc func(oldValue string, oldStat *Stat) (newValue string, err error)

// RetryChange changes a node by changeFunc, such that no change of another client is
// overwritten: if the node has changed since it was read, it is read again, and
// changeFunc called again. If there is no such node, it is created with flags and acl. If
// the new value is the old one, nothing is written.
//
// An error of changeFunc is returned as it is, and nothing is written. An error of a
// request is returned, but for those that say that another client has been faster.
//
// Where many clients change a node all the time, use a lock instead.
func (conn *Conn) RetryChange(path string, flags int, acl []ACL, changeFunc ChangeFunc) error {
	for {
		old, stat, err := conn.Get(path)
		if err != nil && !IsError(err, ZNONODE) {
			return err
		}
		value, err := changeFunc(old, stat)
		if err != nil {
			return err
		}
		switch {
		case stat == nil:
			_, err = conn.Create(path, value, flags, acl)
		case value == old:
			return nil
		default:
			_, err = conn.Set(path, value, stat.Version())
		}
		if !IsError(err, ZNODEEXISTS) && !IsError(err, ZBADVERSION) && !(stat != nil && IsError(err, ZNONODE)) {
			return err
		}
	}
}

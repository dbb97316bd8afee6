package zk

// Observer is told what the Clients of a process do, as metrics want to know it. One
// Observer may serve any number of Clients. Its methods are called by many goroutines at
// once, and must not block. Package zkmetrics is one for Prometheus.
type Observer interface {
	// Answered says that a request was answered; code is 0 if it succeeded.
	Answered(o Operation, code Code)
	// Add says that a quantity has changed by n.
	Add(q Quantity, n int)
	// Fired says that a watch has fired.
	Fired(t WatchType)
	// Entered says that a client has come into a state.
	Entered(s State)
	// Took says how many answers and events one call has taken from C.
	Took(records int)
}

// Quantity is something that an Observer counts.
type Quantity int

// Clients, RequestsInFlight and SessionsInDoubt rise and fall. All others only rise.
const (
	// Clients are those that are open.
	Clients Quantity = iota
	// RequestsInFlight wait for an answer.
	RequestsInFlight
	// SessionsInDoubt are those that no server accepts because ZooKeeper has lost
	// transactions that they have seen, see [Client.Refused].
	SessionsInDoubt
	// SessionRecords are session events that crossed from C: a few for each cut,
	// however many watches there are.
	SessionRecords
	// HandlesOpened are handles of libzookeeper.
	HandlesOpened
	// Connections are those made to a server, the first and the later ones.
	Connections
	// SessionsExpired are sessions that the servers let expire.
	SessionsExpired
	// SessionsRefused are connections that a server closed before it answered whether
	// the session goes on.
	SessionsRefused
	// SessionsReopened are sessions given up for new ones because ZooKeeper had lost
	// transactions that they had seen.
	SessionsReopened
	// NumQuantities is how many there are.
	NumQuantities
)

// nobody observes a client that has no Observer.
type nobody struct{}

func (nobody) Answered(Operation, Code) {}
func (nobody) Add(Quantity, int)        {}
func (nobody) Fired(WatchType)          {}
func (nobody) Entered(State)            {}
func (nobody) Took(int)                 {}

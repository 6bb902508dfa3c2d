// Package simulation plays the whole stack in simulated time, over a network that fails by plan: it holds tests only.
//
//	go test ./readthrough/simulation                                             # 200 seeds of half a second's load each
//	go test -v -timeout 2h ./readthrough/simulation -simulation.seeds=10000      # as many as that, with the figures
//	go test -v -timeout 2h ./readthrough/simulation -simulation.seeds=50 -simulation.span=1m # few and long
//	go test -v -run Promise ./readthrough/simulation -simulation.seed=42         # one, with its plan and its messages
//
// A seed decides everything: how many processes, records and partitions there are, whether the authority has versions and
// a log, who reads and writes what when, how long each message takes, and what fails. Caches, go-redis and a miniredis run as
// they are, in a synctest bubble; only the connections between them are ours. Package history judges every answer, and after
// the last fault every write must come into force. Where the authority answers, no read may fail.
//
// # What fails
//
// Of a connection: it is slow (a few bytes at a time), far away, cut before a request arrived or before its answer did, or
// half open in one direction or both, until its bytes come late after all or for ever. TCP loses nothing in the middle, so
// neither does a connection here, and a connection is made at once or refused: go-redis holds a mutex while it makes one,
// and a bubble's clock stands still for who waits on a mutex. Messages of the bus are lost, come late or come twice besides.
// Of the server: FLUSHALL, the loss of single keys, a restart without memory and scripts, and a failover to what it held some
// time before, under another replication id.
//
// # The same again
//
// Each piece of a message arrives at an instant of its own, and so does the end of each connection and each deadline, so that
// the bubble has come to rest before the next one. What happens to a message follows from the seed, the instant, its sender and
// its kind, and not from what else is sent in that instant. The package runs with one processor, collects garbage between two
// plays, and puts a source of its own in the place of crypto/rand, which decides epochs, nonces and jitter. A test compares
// what two runs of a seed sent: when, by whom, in which direction, what kind of message of which size, and what became of it.
//
// maphash and ristretto have seeds of their own, which decide nothing while L1 has room. What remains to chance is which of a
// process's goroutines goes on first where several may in one instant: a halt of the machine may change that, about once in a
// thousand runs, and the race detector makes the runtime draw lots. What befalls a message of a given kind, sender and instant is the
// same even then.
//
// # What it cannot show
//
// miniredis is not Redis: memory that is full, a Cluster and several primaries are in package faults, processes that stand
// still or die in package stores.
package simulation

// Package session keeps the sessions of agents: which agent a session belongs to, and since when.
//
//	backend, err := session.NewRedis(session.RedisConfig{Client: client}) // or &session.Memory{}
//	store, err := session.New(session.Config{Backend: backend, Link: link})
//	defer store.Close(ctx)
//	err = store.Save(ctx, session.Session{ID: id, AgentID: agent, StartedAt: time.Now()}) // lives for an hour from now
//	s, err := store.Load(ctx, id)   // a hit: no round trip, no allocation
//	err = store.Touch(ctx, id)      // another hour
//	err = store.Delete(ctx, id)     // gone in every process when it returns
//	receipt, err := store.SaveAsync(ctx, changed)
//	s, err = store.Load(ctx, id, readthrough.AtLeast(receipt.Token())) // in any process: nothing older
//
// # What it keeps
//
// The Backend is authoritative. In Redis a session is the original system's hash <prefix>:session:<hex32>, so that both
// read each other's; fields of other programs in it survive a Save. Every write is one step: no session is without its time
// to live, whatever crashes. One that lost it gets one at the next Save, Touch, or Load with RearmOnLoad. Touching and
// loading neither shorten a life nor make a session. A deleted or expired session does not come back by itself, and memory
// keeps none for longer than it lives.
//
// Eviction, FLUSHALL or a failover of Redis that loses writes lose sessions: they are absent, in every process within B.
// Redis should not evict keys here, or evict those with the shortest life.
//
// # How old an answer may be
//
// When Save or Delete return nil, no Load in any process answers from before them. That takes milliseconds, but for the first
// one after Redis is new, was emptied or failed over, and in the first Config.Bound of a process's life, which waits until
// that has passed; SaveAsync and DeleteAsync do not wait. Before, and whatever fails, an answer is at most Config.Bound old.
// If a writer dies between its write and the telling, or does not learn whether its write happened, then Config.MemoryTTL is
// the bound. Programs that write the sessions without this package tell nobody: Config.Foreign is for them, with no answer
// from memory at all, or none older than Config.ForeignTTL.
//
// # Concurrency
//
// Everything is safe for concurrent use. Two Saves of one session at once leave one of them, whole. Close ends what a Store
// has started.
//
// # Failure
//
//	no session                        readthrough.ErrNotFound; remembered for at most MemoryTTL
//	a hash that lacks a field         the same
//	something else in its place       *DecodeError; not remembered, and a Save replaces it
//	Backend out                       Load from memory until the lease ends (at most B, with ServeStale longer), then
//	                                  readthrough.ErrUnavailable, never ErrNotFound; writes fail, outcome unknown
//	bus out, Backend not              writes are stored and pending; Load asks the Backend when the lease has ended
//	Redis without memory              Save fails and changes nothing; Load, Touch and Delete work
//
// Nothing fails open, except that Config.Mode may be ServeStale.
//
// # What it refuses to do
//
// It lists no sessions and finds none by their agent. It does not say that a session ended when nobody asks, and keeps
// nothing else in a session: the fields are the original's.
package session

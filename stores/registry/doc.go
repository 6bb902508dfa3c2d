// Package registry knows which agents there are, what they can do, and which of them can take a task.
//
//	backend, err := registry.NewRedis(registry.RedisConfig{Client: client}) // or NewSQL, or &registry.Memory{}
//	store, err := registry.New(registry.Config{Backend: backend})          // stores.Open does both
//	defer store.Close(ctx)
//	err = store.Register(ctx, registry.Agent{ID: "a1", Capabilities: registry.Capable("go"), MaxLoad: 4})
//	err = store.Heartbeat(ctx, "a1")                                       // every 10 s
//	found, err := store.Find(ctx, registry.Query{Capabilities: []string{"go"}}) // from memory: the least loaded first
//	for a := range found.All() {
//		if ok, err := store.Claim(ctx, a.ID); ok { … }                     // of many dispatchers, no more than there is room for
//	}
//	err = store.Release(ctx, "a1")
//	dead, err := store.Reap(ctx, time.Minute)
//	for ev, err := range store.Watch(ctx) { … }                            // all agents, then each change
//
// List, Find and Get answer from one immutable list of all agents in this process's memory, without a round trip; a cold one is
// read in one round trip. A change of a status, a load or the membership voids it in every process; a heartbeat does not. Such a
// change returns when that is in force: in milliseconds, but for the first one after Redis is new, was emptied or failed over, and
// in the first Config.Bound of a process's life, which wait until that has passed; RegisterAsync and the like do not wait.
//
// # Where the agents are
//
// The Backend is the authority. Redis holds the original system's layout: {prefix}:agent:<id> is the JSON
//
//	{"id":"a1","name":"n","capabilities":["go"],"status":"available","last_heartbeat":"2026-01-02T03:04:05Z",
//	 "current_load":0,"max_load":0}
//
// with a TTL, and beside it {prefix}:lc-index and {prefix}:lc-life. SQL holds rows of layercache_agents. What memory holds is
// rebuildable. FLUSHALL, or eviction by Redis, loses the agents it takes and nothing else: their Heartbeat is then Unknown and
// they register anew; nobody is invented, brought back or marked. A lost index is made whole by one scan of the keyspace.
//
// # Life and death
//
// Time is the backend's own. An agent that neither beats nor registers for Config.TTL is gone from every answer: Get does not
// find it, List does not have it, a heartbeat does not bring it back. Before that, Reap(ttl) marks Offline who was not heard of
// for ttl and Config.Grace together; a heartbeat makes it Available again. Busy stays Busy. Update of a status or a load is no
// sign of life. All of this is the same in memory, Redis and SQL.
//
// Reap marks nobody for a silence that was the backend's own. It counts silence only from the begin of the backend's present
// life: its data is new or was lost (FLUSHALL, restart without data), its server is another one or runs anew (failover,
// restart with an old file), its clock went back, or for longer than Config.Grace nobody at all beat, registered or reaped. In
// a life in which nobody has beaten yet, such a silence counts as Config.Grace, so that a Reap that comes rarely marks in the
// end. Therefore outages that follow one another before any agent has beaten add up: the second leaves the agents ttl to beat,
// each further one Config.Grace less. What was under way when a database stalled is carried out when it goes on, and does not
// hide the stall. Where Redis hides its replication id, a failover is noticed by the silence alone. One slow agent that beats
// alone and more rarely than Config.Grace, without a regular Reap, keeps beginning lives anew.
//
// # Concurrency
//
// Everything is safe for concurrent use. Every write is one atomic step in the backend: a heartbeat never loses a registration
// that runs beside it, and never brings back who was removed. With SQL heartbeats of a process are written together, one
// statement for those of a SQLConfig.BeatDelay or for a BeatBatch of them, and one that revives takes effect a statement later
// than the beat; Close writes those that wait. Agents, and the Capabilities in an Agent, are immutable; everything else is a
// copy. A Store starts the goroutines of its bus, and of its relay with SQL; Close ends them.
//
// # Failure
//
//	backend out                       List, Get, Find from memory until MaxAge or the lease ends, then Failed, which is
//	                                  readthrough.ErrUnavailable; with ServeStale the last list for so long, unless it was voided.
//	                                  Never "none". Writes are Failed, and unknown. Watch yields the error and goes on
//	Redis lost its data               see above
//	bus out, backend well             reads from memory until the lease ends (Bound), then from the backend
//	writer dies before it tells       seen within MaxAge; with SQL within Relay and Bound; at once where SetStatus or SetLoad
//	                                  sets the same again, or a 404 denies an agent that this process has in memory
//	a record that cannot be read      not in List; Get of it is Failed, in Redis Heartbeat and Claim too; the others are as
//	                                  ever. In Redis an empty text, or a key of another type, is none: 404, and who registers
//	                                  replaces it. What stands under a key that holds another than the letters of an encoded
//	                                  id is nobody's. In SQLite a number that is none is such a record: a heartbeat or Reap
//	                                  gives it its times, so that it ends
//	message lost                      Bound; Watch marks the next list as Resynced
//	call of an unknown outcome        Failed; told as if it had happened, unless Redis is known to be out. Whom such a
//	                                  Heartbeat made available is seen within MaxAge; with SQL within Relay and Bound
//	a write that was not done         Failed and ErrUnchanged, where the backend knows it; nobody is told, and memory stays
//
// Errors are *Error with the original system's code: 400, 404 or 500.
//
// # Foreign writers
//
// Other programs that write SQL are seen by triggers: within Relay + Bound with a Link, within Bound without. Those that write
// Redis send no message. Without Config.Foreign what they change is seen after at most MaxAge, and what they add
// not before its first heartbeat through this library. With it nothing is answered from memory: a change is seen at once, at
// the cost of a round trip for Get and a scan of the keyspace for List, Find, Reap and Flush; with Config.ForeignTTL (at most
// 1 s) it is seen after at most that, and no load is shared for longer. Watch looks for itself every second then.
// The original's heartbeats are reads followed by writes and may lose what is written between, also by this library.
//
// # What it refuses to do
//
// It does not choose an agent, queue a task, or beat for an agent. It keeps no history. It does not look an agent up by
// anything but its id, and refuses ids and names that are not UTF-8 or hold a NUL. GetMany, pages and filters are loops over
// the list.
package registry

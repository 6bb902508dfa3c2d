// Package layout is how the stores name their keys in Redis, and how they run scripts on them.
//
// The names are those of the systems that the stores replace, so that a process of such a system reads and writes the same
// records:
//
//	space, err := layout.New(layout.Config{Prefix: "aa"})
//	space.Key("session", id)   // aa:session:<id>
//	space.Name("threads")      // aa:threads
//
// With a tenant they begin with '@' and the tenant, which no prefix can, so that no id of one tenant, whatever its bytes,
// makes a key of another's. Tagged puts prefix and tenant into a hash tag, so that a Redis Cluster keeps all keys of the
// space in one slot; a process of the original system does not find them then.
//
// A Script is sent once and never again by the client itself: some of them must not run twice.
//
// Everything is immutable and safe for concurrent use. Every failure of Redis is readthrough.ErrUnavailable, so that it is
// never taken for an absence.
package layout

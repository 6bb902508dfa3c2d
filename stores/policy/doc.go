// Package policy answers whether an agent may do what it is about to do.
//
// A policy document is a list of rules; each has a glob pattern for actions and a verdict. The first rule that matches
// decides, and no match denies:
//
//	doc, err := policy.ParseDocument(data)
//	if err != nil {
//		return err // a *policy.DocumentError that names the field
//	}
//	d := doc.Decide("tool:fs.read:/etc/passwd")
//	if !d.Allowed() {
//		return fmt.Errorf("not allowed: %v by rule %d", d.Verdict(), d.Rule())
//	}
//
//	draft := doc.Draft() // unknown fields travel along
//	draft.Rules = slices.Insert(draft.Rules, 0, policy.Rule{ActionPattern: "tool:shell", Decision: policy.Deny})
//	doc, err = policy.NewDocument(draft)
//
// The JSON of a document is
//
//	{"version":1,"name":"n","rules":[{"action_pattern":"*","decision":"Deny"}],"enforcement_mode":"enforce"}
//
// # Patterns
//
// A pattern is matched against the whole action, case included. '*' matches any text, the empty one and ':' and '/'
// included. '?' matches one rune. [a-z_] matches one rune of the set and [!a-z_] one that is not in it; '-' stands for
// itself at either end of a set. '\' makes the next rune stand for itself, in a set too. Everything else, braces
// included, stands for itself. A set that begins with '^' or is empty is refused, because other globs give it two
// meanings. An empty pattern matches the empty action only. A byte of an action that is not UTF-8 is matched by '*', '?'
// and negated sets.
//
// # The store
//
// A Store keeps documents in an Authority, and answers checks through this process's memory and Redis:
//
//	store, err := policy.New(policy.Config{Authority: table, Redis: client, Listener: postgres.Listen}) // stores.Open does it
//	defer store.Close(ctx)
//	d, err := store.Decide(ctx, agentID, "tool:shell")   // a hit: no round trip, no allocation
//	if !d.Allowed() { … }                                // after an error too
//	version, err := store.Put(ctx, agentID, doc)         // returns when it is in force in every process
//	receipt, err := store.PutAsync(ctx, agentID, doc)    // returns after the commit
//	d, err = store.Decide(ctx, agentID, action, readthrough.AtLeast(receipt.Token()))
//	err = receipt.Wait(ctx)                              // nil, or a *readthrough.NotInForceError
//	n, err := store.Import(ctx, documents)
//	err = store.ApplyPush(ctx, rawID)                    // of the original system; "" means all policies
//
// The Authority is authoritative: a *sqlsource.Table, whose triggers also tell of what psql or an admin tool changes, or
// Memory, which is lost with the process. What memory and Redis hold is rebuildable: eviction, FLUSHALL or a failover of
// Redis costs misses, one read of the authority for each policy in use, and for B the first Put a wait of B. A Put in the first B
// of a process's life waits until that has passed. No policy is lost and no old one comes back.
//
// Stores without Redis on one database poll its log at least four times in B, and a Put waits for B; Config.Sole declares
// that there is only one. Where there is no log either, as an Authority of a third party may have none, every check asks it.
//
// # Tenants
//
// Tenants share a database, a Redis and a process; each has a Store of its own, over a Table of its own:
//
//	table, err := source.Table(sqlsource.Policies, "acme")
//	store, err := policy.New(policy.Config{Authority: table, Tenant: "acme", Link: link})
//
// A tenant reads, imports, invalidates and is told of its own policies alone, whatever their ids. A program that changes
// policies by SQL names the tenant in the column tenant, or changes those of tenant "". A token or a version of one tenant
// says nothing to another. Stores on one Authority have the same Name and Tenant.
//
// # Concurrency
//
// Documents and decisions are immutable and safe for concurrent use. Decide of a Document takes no locks and allocates
// nothing. A Draft is a plain value of its owner. A Store is safe for concurrent use; Close ends its goroutines.
//
// # Failure
//
// Everything fails closed: the zero Decision denies, RequireApproval is not Allowed, a document with a fault is
// refused rather than read in part, and an action longer than MaxAction gets the zero Decision. The Decision beside an error
// is the zero one, whatever the mode of the document would have been.
//
//	no policy                         readthrough.ErrNotFound; kept for NegativeTTL
//	Redis out                         checks from memory until the lease ends (at most B), then from the authority; writes
//	                                  are committed and pending, and told as soon as Redis is back
//	database out                      checks from memory and Redis while the lease lasts and the TTL does, then
//	                                  readthrough.ErrUnavailable, never ErrNotFound; writes fail
//	both out                          readthrough.ErrUnavailable after at most B
//	faulty document in the database   readthrough.ErrUnavailable with a *DocumentError, for its agent alone
//	faulty value in Redis             a miss, counted
//	commit of unknown outcome         *sqlsource.UnknownOutcomeError; invalidated as if it had happened
//	writer dies after its commit      told by a relay of any process, in force within R + B
//
// Nothing fails open. Observe and Disabled are the document's own word, and need the document to be read.
//
// # What it refuses to do
//
// It does not repair documents, match without regard to case, look inside an action, or ask for an approval. It answers
// nothing stale, and has no write that leaves the Authority out.
package policy

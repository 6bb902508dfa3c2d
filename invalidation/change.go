package invalidation

import "context"

// Change is one row of an authority's change log.
type Change struct {
	// ID is the raw id of the record that changed. Empty when All is set.
	ID string
	// All says that too much changed to name: every record of the namespace may be different.
	All bool
	// AsOf is the authority's version that the change produced.
	AsOf uint64
}

// Page is what an authority's change log answers to one poll. All of it is read in one snapshot.
type Page struct {
	// Changes are the rows above the version asked for, in version order.
	Changes []Change
	// Head is the authority's version in the same snapshot. A page that was cut at the limit has a Head above its last row.
	Head uint64
	// Trimmed is the highest version whose row is no longer in the log. A reader that last polled below it has missed changes.
	Trimmed uint64
}

// Log is the change log of an authority: the backstop that does not trust Redis (coherence: V poll).
// Implementations read the primary, in a snapshot begun after the call, and are safe for concurrent use.
type Log interface {
	// Changes answers at most limit rows with a version above after; limit ≤ 0 means no limit. A cut never falls
	// inside one version, so a page may be longer than limit by the rest of its last version.
	Changes(ctx context.Context, after uint64, limit int) (Page, error)
}

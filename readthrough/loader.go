package readthrough

import (
	"context"
	"time"
)

// Loaded is what an authority answers.
type Loaded[V any] struct {
	// Value is the record. It is shared between all callers and must not change any more.
	Value V
	// AsOf is the authority's version, read in the same statement as the record or before it, on the primary. It counts for
	// an absence (ErrNotFound) too. 0: the authority has no versions; then the lease, the sequence and the epoch protect alone.
	AsOf uint64
	// TTL overrides Config.TTL, or for an absence Config.NegativeTTL, up to Config.MaxTTL. 0: as configured. Negative: the
	// answer is not cached.
	TTL time.Duration
}

// Loader reads one record from the authority. It returns ErrNotFound or sql.ErrNoRows when there is none; any other error
// is a failure and is not cached. It runs on a goroutine and a context of its own, with a deadline and the values of the
// context of the caller that began the load, and may be called for different keys at the same time. A panic in it is a
// *PanicError for whoever waits; a Load that ignores its deadline is left behind with its goroutine.
type Loader[K comparable, V any] interface {
	Load(ctx context.Context, key K) (Loaded[V], error)
}

// LoaderFunc is a Loader whose authority has no versions.
type LoaderFunc[K comparable, V any] func(ctx context.Context, key K) (V, error)

// Load calls f.
func (f LoaderFunc[K, V]) Load(ctx context.Context, key K) (Loaded[V], error) {
	v, err := f(ctx, key)
	return Loaded[V]{Value: v}, err
}

// Batch is what an authority answers to several keys at once.
type Batch[K comparable, V any] struct {
	// Found are the records. A key that was asked for and is in neither Found nor Failed is absent.
	Found map[K]Loaded[V]
	// Failed are keys that could not be read although the others could. One whose error is ErrNotFound or sql.ErrNoRows is
	// absent, as it is to Load. nil: none.
	Failed map[K]error
	// AsOf is the version of the absences, and of each record whose own AsOf is 0.
	AsOf uint64
}

// BatchLoader is a Loader that can read several records in one call. GetMany uses it. The other rules are Loader's:
// ErrNotFound means that there is none of them, any other error that nothing is known of any.
type BatchLoader[K comparable, V any] interface {
	Loader[K, V]
	LoadMany(ctx context.Context, keys []K) (Batch[K, V], error)
}

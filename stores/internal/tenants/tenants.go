// Package tenants keeps the tenants of a backend in memory apart.
package tenants

import "sync"

// Of has a part for each tenant. The zero Of has none yet. Safe for concurrent use.
type Of[T any] struct {
	mu    sync.Mutex // guards parts; held while one is made
	parts map[string]*T
}

// Get answers a tenant's part, which first makes when it is asked for the first time.
func (o *Of[T]) Get(tenant string, first func() *T) *T {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parts == nil {
		o.parts = map[string]*T{}
	}
	if o.parts[tenant] == nil {
		o.parts[tenant] = first()
	}
	return o.parts[tenant]
}

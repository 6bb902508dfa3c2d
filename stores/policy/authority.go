package policy

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/stores/sqlsource"
)

// Authority keeps the documents of one tenant: a *sqlsource.Table, or Memory. Every answer carries the version of its
// snapshot. An Authority that is an invalidation.Log too is polled for changes made by others; one that is Logged too has a
// relay. Implementations are safe for concurrent use, and every call ends with its context.
type Authority interface {
	// Get reads a document, or its absence, with the version.
	Get(ctx context.Context, id string) (rec sqlsource.Record, found bool, err error)
	// GetMany reads several in one statement; an id missing from found has no document as of asOf.
	GetMany(ctx context.Context, ids []string) (found map[string][]byte, asOf uint64, err error)
	// Put stores a document and answers its version. writer delivers the change itself; "" leaves it to relays. An error means
	// that nothing was stored, unless it is a *sqlsource.UnknownOutcomeError.
	Put(ctx context.Context, id string, document []byte, writer string) (asOf uint64, err error)
	// Delete removes a document, if there is one. Its errors are Put's.
	Delete(ctx context.Context, id, writer string) (asOf uint64, existed bool, err error)
	// Import stores many documents and answers how many it has stored, also beside an error: no others are, unless it is a
	// *sqlsource.UnknownOutcomeError.
	Import(ctx context.Context, records iter.Seq2[string, []byte]) (n int, asOf uint64, err error)
	// Head is the version now.
	Head(ctx context.Context) (uint64, error)
}

// Logged is an Authority whose changes stand in an outbox: a *sqlsource.Table, or what somebody puts before one. A Store of
// it runs a relay.
type Logged interface {
	Authority
	// Log is the outbox's, and tells the tenant; nil: there is none after all.
	Log() *sqlsource.Log
}

var (
	_ Logged    = (*sqlsource.Table)(nil)
	_ Authority = (*Memory)(nil)
)

// Memory is an Authority in this process's memory: for tests and single processes that can lose it. Stores without Redis
// that share it, under one Name and Tenant, tell each other of changes at once. Stores of several tenants may share it and
// see their own documents alone: its methods are those of tenant "", and New takes the part of Config.Tenant. Who wraps a
// Memory hides that from New, and needs one for each tenant. The zero Memory is empty and ready for use.
type Memory struct {
	bus invalidation.Local // of the stores without Redis

	mu        sync.Mutex // guards the fields below
	documents map[string][]byte
	version   uint64
	others    map[string]*Memory // of the tenants that have a name
}

// of is the part of a tenant.
func (m *Memory) of(tenant string) *Memory {
	if tenant == "" {
		return m
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	part := m.others[tenant]
	if part == nil {
		if m.others == nil {
			m.others = map[string]*Memory{}
		}
		part = &Memory{}
		m.others[tenant] = part
	}
	return part
}

// Get implements Authority.
func (m *Memory) Get(ctx context.Context, id string) (sqlsource.Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return sqlsource.Record{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	doc, found := m.documents[id]
	return sqlsource.Record{Document: bytes.Clone(doc), AsOf: m.version}, found, nil
}

// GetMany implements Authority.
func (m *Memory) GetMany(ctx context.Context, ids []string) (map[string][]byte, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[string][]byte, len(ids))
	for _, id := range ids {
		if doc, ok := m.documents[id]; ok {
			found[id] = bytes.Clone(doc)
		}
	}
	return found, m.version, nil
}

// Put implements Authority.
func (m *Memory) Put(ctx context.Context, id string, document []byte, _ string) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.documents == nil {
		m.documents = map[string][]byte{}
	}
	m.documents[id] = append([]byte{}, document...)
	m.version++
	return m.version, nil
}

// Delete implements Authority.
func (m *Memory) Delete(ctx context.Context, id, _ string) (uint64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, existed := m.documents[id]
	if existed {
		delete(m.documents, id)
		m.version++
	}
	return m.version, existed, nil
}

// Import implements Authority.
func (m *Memory) Import(ctx context.Context, records iter.Seq2[string, []byte]) (n int, asOf uint64, err error) {
	for id, doc := range records {
		if asOf, err = m.Put(ctx, id, doc, ""); err != nil {
			return n, asOf, err
		}
		n++
	}
	asOf, err = m.Head(ctx)
	return n, asOf, err
}

// Head implements Authority.
func (m *Memory) Head(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version, ctx.Err()
}

// errNoAuthority is what a Config without one is told.
var errNoAuthority = errors.New("policy: Config.Authority is required: a cache that nothing can fill answers nothing")

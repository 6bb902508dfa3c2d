package storetest

import (
	"context"
	"iter"

	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
)

// policies are the documents as a process sees them.
type policies struct{ *view }

var _ policy.Authority = policies{}

func (p policies) live() *policy.Memory { return &p.world.records.policies }

func (p policies) changing(id string) {
	changing(p.view, &p.world.remembered.policies, id, func() oldPolicy {
		rec, found, _ := p.live().Get(context.Background(), id) // memory does not fail
		return oldPolicy{rec, found}
	})
}

// Get implements policy.Authority.
func (p policies) Get(ctx context.Context, id string) (rec sqlsource.Record, found bool, err error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return rec, false, err
	}
	defer leave()
	if was, ok := old(p.view, p.world.remembered.policies, id); ok {
		return was.record, was.found, nil
	}
	return p.live().Get(ctx, id)
}

// GetMany implements policy.Authority.
func (p policies) GetMany(ctx context.Context, ids []string) (found map[string][]byte, asOf uint64, err error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	found, asOf, err = p.live().GetMany(ctx, ids)
	for _, id := range ids {
		if was, ok := old(p.view, p.world.remembered.policies, id); ok && err == nil {
			delete(found, id)
			if was.found {
				found[id] = was.record.Document
			}
			asOf = min(asOf, was.record.AsOf)
		}
	}
	return found, asOf, err
}

// Put implements policy.Authority.
func (p policies) Put(ctx context.Context, id string, document []byte, writer string) (asOf uint64, err error) {
	err = p.write(ctx, func() { p.changing(id) }, func() error {
		asOf, err = p.live().Put(ctx, id, document, writer)
		return err
	})
	return asOf, err
}

// Delete implements policy.Authority.
func (p policies) Delete(ctx context.Context, id, writer string) (asOf uint64, existed bool, err error) {
	err = p.write(ctx, func() { p.changing(id) }, func() error {
		asOf, existed, err = p.live().Delete(ctx, id, writer)
		return err
	})
	return asOf, existed, err
}

// Import implements policy.Authority.
func (p policies) Import(ctx context.Context, records iter.Seq2[string, []byte]) (n int, asOf uint64, err error) {
	for id, document := range records { // one by one: the sequence is the caller's, and may itself ask the stores
		if asOf, err = p.Put(ctx, id, document, ""); err != nil {
			return n, asOf, err
		}
		n++
	}
	asOf, err = p.Head(ctx)
	return n, asOf, err
}

// Head implements policy.Authority.
func (p policies) Head(ctx context.Context) (uint64, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return p.live().Head(ctx)
}

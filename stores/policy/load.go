package policy

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/readthrough"
)

// loader reads documents from the authority and compiles them, once per load.
type loader struct{ authority Authority }

var _ readthrough.BatchLoader[AgentID, *Document] = loader{}

// Load implements readthrough.Loader.
func (l loader) Load(ctx context.Context, id AgentID) (readthrough.Loaded[*Document], error) {
	rec, found, err := l.authority.Get(ctx, id.String())
	if err != nil {
		return readthrough.Loaded[*Document]{}, err
	}
	if !found {
		return readthrough.Loaded[*Document]{AsOf: rec.AsOf}, readthrough.ErrNotFound
	}
	return parsed(rec.Document, rec.AsOf)
}

// LoadMany implements readthrough.BatchLoader. A document with a fault fails alone.
func (l loader) LoadMany(ctx context.Context, ids []AgentID) (readthrough.Batch[AgentID, *Document], error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	rows, asOf, err := l.authority.GetMany(ctx, names)
	if err != nil {
		return readthrough.Batch[AgentID, *Document]{}, err
	}
	b := readthrough.Batch[AgentID, *Document]{Found: make(map[AgentID]readthrough.Loaded[*Document], len(rows)), AsOf: asOf}
	for i, id := range ids {
		row, found := rows[names[i]]
		if !found {
			continue
		}
		loaded, err := parsed(row, asOf)
		if err != nil {
			if b.Failed == nil {
				b.Failed = map[AgentID]error{}
			}
			b.Failed[id] = err
			continue
		}
		b.Found[id] = loaded
	}
	return b, nil
}

// parsed compiles a stored document. Somebody else may have stored one with a fault: then there is no answer, and in
// particular not "absent".
func parsed(document []byte, asOf uint64) (readthrough.Loaded[*Document], error) {
	doc, err := ParseDocument(document)
	if err != nil {
		return readthrough.Loaded[*Document]{}, fmt.Errorf("policy: the stored document: %w", err)
	}
	return readthrough.Loaded[*Document]{Value: doc, AsOf: asOf}, nil
}

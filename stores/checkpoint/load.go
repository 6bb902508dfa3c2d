package checkpoint

import (
	"context"
	"fmt"
	"slices"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/telemetry"
)

// State is what a thread holds.
type State struct {
	// Data is the state as it was saved. It is shared with other callers and must not be changed.
	Data []byte
	// Version is for SaveIf.
	Version Version
}

// loader reads states from the backend.
type loader struct{ cfg Config }

var _ readthrough.Loader[string, State] = loader{}

// Load implements readthrough.Loader.
func (l loader) Load(ctx context.Context, id string) (readthrough.Loaded[State], error) {
	rec, err := l.cfg.Backend.Load(ctx, id, Read{Refresh: l.cfg.refresh(), Max: l.cfg.MaxState + overhead, Foreign: l.cfg.Foreign})
	if err != nil {
		return readthrough.Loaded[State]{}, err
	}
	data, err := unseal(rec.Value, l.cfg.MaxState)
	if err != nil {
		l.cfg.Telemetry.Count(l.cfg.Name, telemetry.PayloadRejectedCorrupt, 1)
		return readthrough.Loaded[State]{}, err
	}
	l.cfg.Telemetry.Count(l.cfg.Name, telemetry.StateLoaded, 1)
	l.cfg.Telemetry.Count(l.cfg.Name, telemetry.StateLoadedBytes, int64(len(rec.Value)))
	ttl := l.cfg.entryTTL()
	if rec.TTL > 0 {
		ttl = min(ttl, rec.TTL)
	}
	return readthrough.Loaded[State]{Value: State{Data: slices.Clip(data), Version: rec.Version}, TTL: ttl}, nil
}

// Load answers a thread's state, or readthrough.ErrNotFound. Its other errors are those of readthrough's Get;
// readthrough.ErrUnavailable may wrap ErrCorrupt or a *TooLargeError. A hit in L1 makes no round trip and allocates nothing.
// Without L1 every Load asks the backend, and options say nothing that it does not do anyway.
func (s *Store) Load(ctx context.Context, id string, opts ...readthrough.Option) (State, error) {
	if s.cache != nil {
		return s.cache.Get(ctx, id, opts...)
	}
	if err := s.check(id); err != nil {
		return State{}, err
	}
	loaded, err := loader{s.cfg}.Load(ctx, id)
	if err != nil {
		return State{}, failed("load", err)
	}
	return loaded.Value, nil
}

// failed says what was tried. What says nothing of the state being there or not is readthrough.ErrUnavailable.
func failed(op string, err error) error {
	if err == nil || knows(err) {
		return err
	}
	return fmt.Errorf("checkpoint: %s: %w", op, layout.Unavailable(err))
}

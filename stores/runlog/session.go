package runlog

import (
	"context"
	"errors"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// sessions loads the session ids of runs. A session id never changes while its run lives; that there is none is not kept.
type sessions struct {
	backend Backend
	direct  bool // nothing is kept
}

// Load implements readthrough.Loader.
func (l sessions) Load(ctx context.Context, run string) (readthrough.Loaded[string], error) {
	s, err := l.backend.Tail(ctx, run)
	switch {
	case err != nil:
		return readthrough.Loaded[string]{}, failure(err)
	case s.Session == "":
		return readthrough.Loaded[string]{}, readthrough.ErrNotFound
	}
	loaded := readthrough.Loaded[string]{Value: s.Session, TTL: s.Left}
	if l.direct || s.Left <= 0 {
		loaded.TTL = -1
	}
	return loaded, nil
}

// failure makes an error of a Backend the caller's.
func failure(err error) error {
	for _, known := range []error{ErrEnded, ErrFull, ErrDamaged, ErrConflict, ErrRestarted} {
		if errors.Is(err, known) {
			return err
		}
	}
	return layout.Unavailable(err)
}

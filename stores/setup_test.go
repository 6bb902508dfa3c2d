package stores_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/policy"
)

// open opens stores, which are closed when the test ends.
func open(t testing.TB, cfg stores.Config, opts ...stores.Option) *stores.Backend {
	t.Helper()
	b, err := stores.Open(t.Context(), cfg, opts...)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.Close(ctx) // with Redis gone it says what it could not deliver
	})
	return b
}

func sqliteURL(t testing.TB) string {
	t.Helper()
	return "sqlite://" + filepath.Join(t.TempDir(), "policies.db")
}

func allow(t testing.TB, s *policy.Store, id policy.AgentID) {
	t.Helper()
	if _, err := s.Put(t.Context(), id, revision(1)); err != nil {
		t.Fatalf("Put: %v", err)
	}
	if d, err := s.Decide(t.Context(), id, action); err != nil || !d.Allowed() {
		t.Fatalf("Decide: %+v, %v", d, err)
	}
}

// logs is a logger whose lines can be read.
type logs struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

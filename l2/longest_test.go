package l2_test

import (
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
)

// Who invalidates without ever having renewed must know how long others may still answer from memory.
func TestInvalidationAndResetTellTheLongestLease(t *testing.T) {
	for name, call := range map[string]func(b bundle){
		"invalidate": func(b bundle) { b.invalidate(0, "k") },
		"reset": func(b bundle) {
			if _, err := b.Reset(b.t.Context(), 0, ""); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(b bundle) {
				b.renew("p", "", 0, 0)
				short := b
				short.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Lease = time.Second })
				if got := short.LongestLease(); got != time.Second {
					b.t.Fatalf("longest lease %s before any answer, want its own 1s", got)
				}
				call(short)
				if got := short.LongestLease(); got != 10*time.Second {
					b.t.Fatalf("longest lease %s, want 10s", got)
				}
			})
		})
	}
}

package readthrough_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// What is read now makes its way into an L1 that is full of what was read before, and each miss counts, however many
// partitions there are: with several, a hit looks for the entry before it looks for the entry's lease.
func TestAFullL1TakesInWhatIsReadNow(t *testing.T) {
	const entries = 200
	for _, partitions := range []int{1, 16} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
			_, client := redistest.Mini(t)
			tel := newRecorder()
			c := open(t, readthrough.Config[string, int]{
				Name: "test", Redis: client, Partitions: partitions, MaxEntries: entries, Bound: time.Hour, Telemetry: tel,
				Loader: readthrough.LoaderFunc[string, int](func(context.Context, string) (int, error) { return 1, nil }),
			})
			ready(t, c)
			round := func(set string) (hits int) {
				for i := range entries {
					key := fmt.Sprint(set, i)
					if _, ok := c.Peek(key); ok {
						hits++
					}
					wantGet(t, c, key, 1)
				}
				return hits
			}
			for range 40 {
				round("before ")
			}
			missed := tel.snapshot().L1Misses
			hits := 0
			for range 60 {
				hits = round("now ")
			}
			if hits < entries/2 {
				t.Errorf("of %d keys that are read again and again %d are in L1", entries, hits)
			}
			if n := tel.snapshot().L1Misses - missed; n < entries {
				t.Errorf("%d misses counted, there were at least %d", n, entries)
			}
		})
	}
}

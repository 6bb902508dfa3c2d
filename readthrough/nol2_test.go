package readthrough_test

import (
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

func TestNoL2KeepsNoValuesInRedisAndStillTellsEveryProcess(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1, "m": 1})
		cfg := b.with(config{Loader: src, NoL2: true, Bound: 300 * time.Millisecond})
		c, other := open(t, cfg), open(t, cfg)
		ready(t, c, other)
		wantTier(t, c, "k", 1, readthrough.L3)
		wantTier(t, other, "k", 1, readthrough.L3)
		wantTier(t, other, "k", 1, readthrough.L1)
		if err := other.Warm(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		src.put("k", 2)
		if err := c.Invalidate(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		wantGet(t, other, "k", 2)
		src.put("k", 3)
		token := invalidateAsync(t, c, 0, "k").Token()
		if v, err := other.Get(t.Context(), "k", readthrough.AtLeast(token)); v != 3 || err != nil {
			t.Fatalf("%d, %v below the token", v, err)
		}
		if err := other.Refresh(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		for _, key := range b.client.Keys(t.Context(), "*").Val() {
			if strings.Contains(key, ":d:") {
				t.Errorf("%s is in Redis", key)
			}
		}
	})
}

// A lookup would be one script of the server's more.
func TestNoL2MissesCostRedisNothing(t *testing.T) {
	server := redistest.Start(t)
	src := newSource(map[string]int{"k": 1})
	c := open(t, config{Name: "test", Redis: server.Client(), NoL2: true, Loader: src, Bound: time.Hour})
	ready(t, c)
	quiet(t, server)
	counter{t, server}.want("miss", 0, func() { wantGet(t, c, "k", 1) })
}

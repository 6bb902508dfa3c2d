package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

func TestAKeyWithoutAnIDIsRefusedBeforeAnyIO(t *testing.T) {
	server := redistest.Start(t)
	src := newSource(nil)
	c := open(t, config{Name: "test", Redis: server.Client(), Loader: src})
	ready(t, c)
	for name, key := range map[string]string{"empty": "", "over 1 KiB": strings.Repeat("x", 1025)} {
		_, err := c.Get(t.Context(), key)
		_, entry := c.GetEntry(t.Context(), key)
		_, many := c.GetMany(t.Context(), []string{key})
		_, async := c.InvalidateAsync(t.Context(), "good", key)
		for verb, err := range map[string]error{
			"Get": err, "GetEntry": entry, "GetMany": many, "Warm": c.Warm(t.Context(), key), "Refresh": c.Refresh(t.Context(), key),
			"Invalidate": c.Invalidate(t.Context(), key), "InvalidateAsync": async,
		} {
			if !errors.Is(err, readthrough.ErrInvalidKey) {
				t.Errorf("%s key: %s = %v", name, verb, err)
			}
			if len(key) > 0 && strings.Contains(fmt.Sprint(err), "xxx") {
				t.Errorf("%s shows the key", verb)
			}
		}
		if _, ok := c.Peek(key); ok {
			t.Errorf("%s key: Peek answers", name)
		}
	}
	wantLoads(t, src, 0)
	keys := server.Client().Keys(t.Context(), prefix+"[dl]:*").Val()
	if len(keys) != 0 {
		t.Errorf("in Redis: %v", keys)
	}
	longest := strings.Repeat("x", 1024)
	src.put(longest, 5)
	wantGet(t, c, longest, 5)
}

type agent [4]byte

func (a agent) MarshalText() ([]byte, error) {
	if a == (agent{}) {
		return nil, errors.New("no agent")
	}
	return fmt.Appendf(nil, "%x", a[:]), nil
}

type (
	name  string
	count int16
	size  uint8
)

// roundTrip loads a key and reads it back, from another cache by way of the id.
func roundTrip[K comparable](t *testing.T, b backend, key K, id string, with func(*readthrough.Config[K, string])) {
	t.Helper()
	cfg := readthrough.Config[K, string]{
		Name: "test", Redis: b.client,
		Loader: readthrough.LoaderFunc[K, string](func(_ context.Context, k K) (string, error) { return fmt.Sprint(k), nil }),
	}
	if with != nil {
		with(&cfg)
	}
	c := open(t, cfg)
	ready(t, c)
	if v, err := c.Get(t.Context(), key); err != nil || v != fmt.Sprint(key) {
		t.Errorf("%T: Get = %q, %v", key, v, err)
	}
	stored(t, b, id)
}

func TestKeysOfManyKinds(t *testing.T) {
	b := mini(t)
	roundTrip(t, b, "plain", "plain", nil)
	roundTrip(t, b, "a b{c}*", "a%20b%7Bc%7D%2A", nil)
	roundTrip(t, b, name("named"), "named", nil)
	roundTrip(t, b, -42, "-42", nil)
	roundTrip(t, b, count(-7), "-7", nil)
	roundTrip(t, b, size(255), "255", nil)
	roundTrip(t, b, agent{1, 2, 3, 4}, "01020304", nil)
	roundTrip(t, b, [2]int{3, 4}, "3.4", func(cfg *readthrough.Config[[2]int, string]) {
		cfg.ID = func(k [2]int) (string, error) { return fmt.Sprintf("%d.%d", k[0], k[1]), nil }
	})
}

func TestAKeyThatItsIDRefusesIsInvalid(t *testing.T) {
	load := readthrough.LoaderFunc[agent, int](func(context.Context, agent) (int, error) { return 1, nil })
	c := open(t, readthrough.Config[agent, int]{Name: "test", Loader: load})
	if _, err := c.Get(t.Context(), agent{}); !errors.Is(err, readthrough.ErrInvalidKey) {
		t.Errorf("Get = %v", err)
	}
	panics := open(t, readthrough.Config[agent, int]{Name: "test", Loader: load, ID: func(agent) (string, error) { panic("id") }})
	if _, err := panics.Get(t.Context(), agent{1}); !errors.Is(err, readthrough.ErrInvalidKey) {
		t.Errorf("Get = %v", err)
	}
}

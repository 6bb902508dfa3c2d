package runlog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

// memory answers a field of a server's INFO in bytes.
func memory(t testing.TB, server *redistest.Server, field string) (n int) {
	t.Helper()
	info, _ := server.Do("INFO", "memory").(string)
	_, after, _ := strings.Cut(info, field+":")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// hasty makes a client with the timeouts that l2.NewClient gives who names none.
func hasty(t testing.TB, address string) redis.UniversalClient {
	t.Helper()
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Else a page would make Redis read many times what it answers, while nobody else is served.
func TestAPageOfLongEventsReadsHardlyMoreThanItAnswers(t *testing.T) {
	for name, c := range map[string]struct{ short, most int }{
		"long ones only": {0, 5 << 20},
		"after 8 short":  {8, 12 << 20},
		"after 80 short": {80, 24 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s := open(t, runlog.Config{Backend: onRedis(t, server.Client())})
			if c.short > 0 {
				add(t, s, "r", texts(c.short)...)
			}
			long := json.RawMessage(`{"A":"` + strings.Repeat("x", runlog.MaxEvent-8) + `"}`)
			for range 64 {
				add(t, s, "r", runlog.Event{Body: long})
			}
			used, bytes := memory(t, server, "used_memory"), 0
			p := list(t, s, "r", 0, 1000)
			for _, e := range p.Events {
				bytes += len(e.Event)
			}
			if len(p.Events) < c.short+1 || bytes > 3<<20 || !p.HasMore {
				t.Fatalf("%d events of %d bytes", len(p.Events), bytes)
			}
			if peak := memory(t, server, "used_memory_peak"); peak-used > c.most {
				t.Errorf("%d MiB more at the peak", (peak-used)>>20)
			}
		})
	}
}

func TestARunOfShortAndLongEventsIsFollowedWithinTheDefaultTimeouts(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, runlog.Config{Backend: onRedis(t, server.Client())})
	long := json.RawMessage(`{"A":"` + strings.Repeat("x", runlog.MaxEvent-8) + `"}`)
	add(t, s, "r", texts(80)...)
	for range 64 {
		add(t, s, "r", runlog.Event{Body: long})
	}
	add(t, s, "r", texts(8)...)
	add(t, s, "r", runlog.Event{Body: long}, end())
	f := follow(t, open(t, runlog.Config{Backend: onRedis(t, hasty(t, server.Addr()))}), "r", runlog.Cursor{})
	if err := f.ended(); err != nil {
		t.Error(err)
	}
	f.exactly(1, 154)
}

// The commands of a page are those of its own entries, whatever stands before them: the contract's cost.
func TestListAfterCostsTheSameEverywhereInARun(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	for range 10 {
		add(t, s, "r", texts(1000)...)
	}
	list(t, s, "r", 0, 1) // the server knows the script from now on
	var first redistest.Commands
	for _, after := range []uint64{0, 5000, 9900} {
		before := redistest.CountCommands(t, client)
		if p := list(t, s, "r", after, 100); len(p.Events) != 100 || p.Events[0].Seq != after+1 {
			t.Fatalf("%+v", p)
		}
		got := redistest.CountCommands(t, client).Since(before)
		if first == nil {
			first = got
		}
		if fmt.Sprint(got) != fmt.Sprint(first) || got["xrange"] > 10 {
			t.Errorf("after %d: %v, at the beginning %v", after, got, first)
		}
	}
}

// What comes singly after a batch is read as fast as it is elsewhere.
func TestAPageThatBeginsInABatchTakesFewReads(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	add(t, s, "r", texts(64)...)
	for _, e := range texts(256) {
		add(t, s, "r", e)
	}
	list(t, s, "r", 0, 1) // the server knows the script from now on
	for _, after := range []uint64{0, 30, 63, 64, 65} {
		before := redistest.CountCommands(t, client)
		if p := list(t, s, "r", after, 256); p.Next.Seq != min(after+256, p.LastSeq) {
			t.Fatalf("after %d: %d events", after, len(p.Events))
		}
		if got := redistest.CountCommands(t, client).Since(before); got["xrange"] > 20 {
			t.Errorf("after %d: %v", after, got)
		}
	}
}

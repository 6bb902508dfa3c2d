package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

// Checkpoints runs the conformance suite of checkpoint backends. open makes an empty backend; one that keeps time in its own
// way has to let it pass as fast as the wall clock does.
func Checkpoints(t *testing.T, open func(t testing.TB) checkpoint.Backend) {
	for name, test := range map[string]func(checkpoints){
		"a saved state is loaded byte for byte":                 checkpoints.bytes,
		"bytes are not shared with the caller":                  checkpoints.unshared,
		"what was never saved is absent":                        checkpoints.absent,
		"a deleted thread is gone, and deleting again is ok":    checkpoints.remove,
		"a version is never given twice and rises":              checkpoints.versions,
		"a conditional save of an old version changes nothing":  checkpoints.conflicts,
		"of many workers on one thread none loses an update":    checkpoints.counts,
		"a state and its version belong together at any time":   checkpoints.whole,
		"a thread ends with its time to live":                   checkpoints.ends,
		"a time to live under a second is kept":                 checkpoints.short,
		"a save re-arms, and one without an end takes it away":  checkpoints.rearms,
		"loading re-arms only when asked":                       checkpoints.refreshes,
		"touching re-arms and saves nothing":                    checkpoints.touches,
		"a pinned thread does not end until it is unpinned":     checkpoints.pins,
		"a new thread inherits nothing from one that has ended": checkpoints.inheritsNothing,
		"what is deleted stays so beside loads, touches, pins":  checkpoints.staysDeleted,
		"a list is newest first":                                checkpoints.newestFirst,
		"pages have each thread once":                           checkpoints.pages,
		"pages stay as they are under saves":                    checkpoints.pagesUnderSaves,
		"threads that have ended are not listed":                checkpoints.liveOnly,
		"a state that is too large is not answered":             checkpoints.tooLarge,
		"ids are apart": checkpoints.apart,
		"a call whose context has ended is unavailable": checkpoints.context,
	} {
		t.Run(name, func(t *testing.T) { test(checkpoints{T: t, b: open(t)}) })
	}
}

const (
	soon     = 300 * time.Millisecond // a time to live that a test sits out
	later    = 2 * time.Second        // the same, where some calls must be done before
	patience = 30 * time.Second       // how long what must happen is waited for
)

// checkpoints is a backend with the calls of the suite, which fail the test on an error.
type checkpoints struct {
	*testing.T
	b checkpoint.Backend
}

func (c checkpoints) save(id, value string, ttl time.Duration) checkpoint.Version {
	c.Helper()
	v, err := c.b.Save(c.Context(), id, checkpoint.Write{Value: []byte(value), TTL: ttl})
	if err != nil || v == 0 {
		c.Fatalf("save %q: %d, %v", id, v, err)
	}
	return v
}

// saveIf saves thread t.
func (c checkpoints) saveIf(value string, expect checkpoint.Version) (checkpoint.Version, error) {
	return c.b.Save(c.Context(), "t", checkpoint.Write{Value: []byte(value), Conditional: true, Expect: expect})
}

func (c checkpoints) read(id string, refresh time.Duration) (checkpoint.Record, error) {
	return c.b.Load(c.Context(), id, checkpoint.Read{Refresh: refresh, Max: 16 << 20})
}

func (c checkpoints) load(id string) checkpoint.Record {
	c.Helper()
	rec, err := c.read(id, 0)
	if err != nil {
		c.Fatalf("load %q: %v", id, err)
	}
	return rec
}

func (c checkpoints) want(id, value string) checkpoint.Record {
	c.Helper()
	rec := c.load(id)
	if string(rec.Value) != value {
		c.Fatalf("%q holds %.40q, want %.40q", id, rec.Value, value)
	}
	return rec
}

func (c checkpoints) lacks(id string) bool {
	c.Helper()
	_, err := c.read(id, 0)
	if err != nil && !errors.Is(err, readthrough.ErrNotFound) {
		c.Fatalf("load %q: %v", id, err)
	}
	return err != nil
}

func (c checkpoints) keep(id string, k checkpoint.Keep) {
	c.Helper()
	if err := c.b.Keep(c.Context(), id, k); err != nil {
		c.Fatalf("keep %q: %v", id, err)
	}
}

func (c checkpoints) delete(id string) {
	c.Helper()
	if err := c.b.Delete(c.Context(), id); err != nil {
		c.Fatalf("delete %q: %v", id, err)
	}
}

// ended waits until a thread's time has come.
func (c checkpoints) ended(id string) {
	c.Helper()
	redistest.Eventually(c.T, patience, "the end of "+id, func() bool { return c.lacks(id) })
}

// pass waits for some time of the backend to pass.
func (c checkpoints) pass(d time.Duration) {
	c.Helper()
	id := fmt.Sprintf("clock%d", rand.Uint64())
	c.save(id, "tick", d)
	c.ended(id)
	c.delete(id)
}

// list answers all pages.
func (c checkpoints) list(limit int, between func()) (ids []string) {
	c.Helper()
	q := checkpoint.Query{Limit: limit}
	last := uint64(0)
	for {
		l, err := c.b.List(c.Context(), q)
		if err != nil {
			c.Fatalf("list: %v", err)
		}
		if len(l.Threads) > limit {
			c.Fatalf("%d threads on a page of %d", len(l.Threads), limit)
		}
		for _, thread := range l.Threads {
			if last != 0 && thread.Order >= last {
				c.Fatalf("%q has order %d after %d", thread.ID, thread.Order, last)
			}
			last = thread.Order
			ids = append(ids, thread.ID)
		}
		if !l.More {
			return ids
		}
		if q.Before != 0 && l.Next >= q.Before {
			c.Fatalf("the list goes on at %d after %d", l.Next, q.Before)
		}
		q.Before = l.Next
		if between != nil {
			between()
		}
	}
}

func (c checkpoints) bytes() {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, value := range map[string][]byte{
		"empty": {}, "zero": {0}, "every byte": all, "100 KiB": bytes.Repeat(all, 400), "2 MiB": bytes.Repeat(all, 8<<10),
		"json": []byte(`{"todos":[],"files":{"a":"é\n"},"scratchpad":{"n":9007199254740993}}`),
	} {
		c.save(name, string(value), 0)
		c.want(name, string(value))
		c.save(name, "other", 0)
		c.want(name, "other")
	}
}

func (c checkpoints) unshared() {
	given := []byte("given")
	if _, err := c.b.Save(c.Context(), "t", checkpoint.Write{Value: given}); err != nil {
		c.Fatal(err)
	}
	given[0] = 'X'
	c.load("t").Value[0] = 'Y'
	c.want("t", "given")
}

func (c checkpoints) absent() {
	if !c.lacks("t") {
		c.Error("there is one")
	}
	for _, k := range []checkpoint.Keep{{Pin: true}, {Unpin: true}, {TTL: time.Second}} {
		if err := c.b.Keep(c.Context(), "t", k); !errors.Is(err, readthrough.ErrNotFound) {
			c.Errorf("%+v: %v", k, err)
		}
	}
	if ids := c.list(10, nil); len(ids) != 0 || !c.lacks("t") {
		c.Errorf("%q are listed", ids)
	}
	if err := c.b.Ping(c.Context()); err != nil {
		c.Error(err)
	}
}

func (c checkpoints) remove() {
	c.delete("t")
	c.save("t", "1", 0)
	c.save("u", "1", time.Minute)
	c.keep("u", checkpoint.Keep{Pin: true})
	for range 2 {
		c.delete("t")
		c.delete("u")
		if !c.lacks("t") || !c.lacks("u") || len(c.list(10, nil)) != 0 {
			c.Fatal("something is left")
		}
	}
}

func (c checkpoints) staysDeleted() {
	for range races {
		c.save("t", "1", time.Minute)
		orGone := func(err error) error {
			if errors.Is(err, readthrough.ErrNotFound) {
				return nil
			}
			return err
		}
		beside(c, func() error { return c.b.Delete(c.Context(), "t") }, func() error {
			return orGone(c.b.Keep(c.Context(), "t", checkpoint.Keep{TTL: time.Hour}))
		}, func() error {
			return orGone(c.b.Keep(c.Context(), "t", checkpoint.Keep{Pin: true}))
		}, func() error {
			_, err := c.read("t", time.Hour)
			return orGone(err)
		})
		if !c.lacks("t") || len(c.list(10, nil)) != 0 {
			c.Fatal("it is back")
		}
	}
}

func (c checkpoints) versions() {
	seen := map[checkpoint.Version]bool{}
	last := checkpoint.Version(0)
	for i := range 50 {
		v := c.save("t", strconv.Itoa(i%2), 0) // the same state again is another version
		if seen[v] || v <= last {
			c.Fatalf("version %d after %d", v, last)
		}
		if rec := c.load("t"); rec.Version != v {
			c.Fatalf("saved as %d, loaded as %d", v, rec.Version)
		}
		if seen[v], last = true, v; i%10 == 9 {
			c.delete("t")
		}
	}
}

func (c checkpoints) conflict(err error, current checkpoint.Version) {
	c.Helper()
	conflict, ok := errors.AsType[*checkpoint.ConflictError](err)
	if !ok || !errors.Is(err, checkpoint.ErrConflict) || conflict.Current != current {
		c.Fatalf("%v, want a conflict with %d", err, current)
	}
}

func (c checkpoints) conflicts() {
	_, err := c.saveIf("x", 12345)
	c.conflict(err, 0)
	if !c.lacks("t") || len(c.list(10, nil)) != 0 {
		c.Fatal("a refused save made a thread")
	}
	first, err := c.saveIf("1", 0)
	if err != nil {
		c.Fatal(err)
	}
	_, err = c.saveIf("x", 0)
	c.conflict(err, first)
	second, err := c.saveIf("2", first)
	if err != nil || second <= first {
		c.Fatalf("%d, %v after %d", second, err, first)
	}
	c.save("u", "u", 0)
	_, err = c.saveIf("x", first)
	c.conflict(err, second)
	if got := c.list(10, nil); !slices.Equal(got, []string{"u", "t"}) {
		c.Fatalf("a refused save made the list %q", got)
	}
	if rec := c.want("t", "2"); rec.Version != second {
		c.Fatalf("version %d, want %d", rec.Version, second)
	}
	c.delete("t")
	_, err = c.saveIf("x", second)
	c.conflict(err, 0)
	third := c.save("t", "3", 0)
	_, err = c.saveIf("x", second)
	c.conflict(err, third)
}

func (c checkpoints) counts() {
	const workers, each = 16, 10
	c.save("t", "0", 0)
	var refused atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				rec, err := c.read("t", 0)
				if err != nil {
					c.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(rec.Value))
				_, err = c.saveIf(strconv.Itoa(n+1), rec.Version)
				switch {
				case err == nil:
					done++
				case errors.Is(err, checkpoint.ErrConflict):
					refused.Add(1)
				default:
					c.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.want("t", strconv.Itoa(workers*each))
	c.Logf("%d conflicts", refused.Load())
}

func (c checkpoints) whole() {
	var mu sync.Mutex // guards saved
	saved := map[checkpoint.Version]string{}
	note := func(v checkpoint.Version, value string) {
		mu.Lock()
		defer mu.Unlock()
		if was, ok := saved[v]; ok && was != value {
			c.Errorf("version %d is of %q and of %q", v, was, value)
		}
		saved[v] = value
	}
	c.save("t", "first", 0)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				value := fmt.Sprintf("%d.%d", w, i)
				v, err := c.b.Save(c.Context(), "t", checkpoint.Write{Value: []byte(value)})
				if err != nil {
					c.Error(err)
					return
				}
				note(v, value)
			}
		})
		wg.Go(func() {
			for range 50 {
				rec, err := c.read("t", 0)
				if err != nil {
					c.Error(err)
					return
				}
				note(rec.Version, string(rec.Value))
			}
		})
	}
	wg.Wait()
}

func (c checkpoints) ends() {
	c.save("t", "1", later)
	if left := c.load("t").TTL; left <= 0 || left > later {
		c.Fatalf("%s left of %s", left, later)
	}
	c.save("u", "1", 0)
	if left := c.load("u").TTL; left != 0 {
		c.Fatalf("%s left of no end", left)
	}
	c.ended("t")
	c.load("u")
	if err := c.b.Keep(c.Context(), "t", checkpoint.Keep{Pin: true}); !errors.Is(err, readthrough.ErrNotFound) {
		c.Errorf("pin of a thread that has ended: %v", err)
	}
	if _, err := c.saveIf("2", 0); err != nil {
		c.Errorf("it has ended, and a save of a new one is: %v", err)
	}
}

func (c checkpoints) short() {
	c.save("t", "1", 1500*time.Millisecond)
	if left := c.load("t").TTL; left <= 0 || left > 1500*time.Millisecond {
		c.Errorf("%s left", left)
	}
	c.save("u", "1", time.Millisecond)
	c.ended("u")
}

func (c checkpoints) rearms() {
	c.save("t", "1", soon)
	c.save("t", "2", time.Hour)
	c.save("u", "1", soon)
	c.save("u", "2", 0)
	c.pass(2 * soon)
	c.want("t", "2")
	c.want("u", "2")
}

func (c checkpoints) refreshes() {
	c.save("kept", "1", later)
	c.save("read", "1", later)
	c.save("endless", "1", 0)
	c.save("pinned", "1", later)
	c.keep("pinned", checkpoint.Keep{Pin: true})
	c.load("kept")
	for _, id := range []string{"read", "endless", "pinned"} {
		rec, err := c.read(id, time.Hour)
		if err != nil {
			c.Fatal(err)
		}
		if (rec.TTL != 0) != (id == "read") {
			c.Errorf("%s has %s left", id, rec.TTL)
		}
	}
	c.ended("kept")
	if left := c.load("read").TTL; left < time.Minute {
		c.Errorf("%s left", left)
	}
	if rec, err := c.read("endless", time.Millisecond); err != nil || rec.TTL != 0 {
		c.Errorf("%v, %v", rec, err)
	}
	if _, err := c.read("kept", time.Hour); !errors.Is(err, readthrough.ErrNotFound) {
		c.Errorf("a load made a thread: %v", err)
	}
}

func (c checkpoints) touches() {
	v := c.save("t", "1", later)
	c.save("u", "1", 0)
	c.keep("t", checkpoint.Keep{TTL: time.Hour})
	c.pass(later)
	if rec := c.want("t", "1"); rec.Version != v || rec.TTL < time.Minute {
		c.Errorf("version %d, want %d; %s left", rec.Version, v, rec.TTL)
	}
	if ids := c.list(10, nil); !slices.Equal(ids, []string{"u", "t"}) {
		c.Errorf("the list is %q", ids)
	}
	if _, err := c.saveIf("2", v); err != nil {
		c.Error(err)
	}
	c.keep("t", checkpoint.Keep{TTL: soon})
	c.ended("t")
}

func (c checkpoints) pins() {
	v := c.save("t", "1", later)
	c.keep("t", checkpoint.Keep{Pin: true, TTL: soon})
	if rec := c.load("t"); rec.TTL != 0 || rec.Version != v {
		c.Fatalf("%s left of a pinned thread, version %d, want %d", rec.TTL, rec.Version, v)
	}
	c.pass(later)
	c.want("t", "1")
	c.save("t", "2", soon)
	c.keep("t", checkpoint.Keep{TTL: soon})
	c.pass(2 * soon)
	c.want("t", "2")
	l, err := c.b.List(c.Context(), checkpoint.Query{Limit: 10})
	if err != nil || len(l.Threads) != 1 || !l.Threads[0].Pinned {
		c.Fatalf("%+v, %v", l, err)
	}
	v = c.load("t").Version
	c.keep("t", checkpoint.Keep{Unpin: true, TTL: soon})
	c.ended("t")
	if _, err := c.saveIf("3", v); !errors.Is(err, checkpoint.ErrConflict) {
		c.Error(err)
	}
}

func (c checkpoints) inheritsNothing() {
	old := c.save("t", "1", soon)
	c.ended("t")
	c.save("t", "2", time.Hour)
	if _, err := c.saveIf("x", old); !errors.Is(err, checkpoint.ErrConflict) {
		c.Errorf("the version of the old thread: %v", err)
	}
	c.keep("t", checkpoint.Keep{Pin: true})
	c.delete("t")
	c.save("t", "3", soon)
	c.ended("t")
}

func (c checkpoints) newestFirst() {
	for _, id := range []string{"a", "b", "c", "a"} {
		c.save(id, id, 0)
	}
	if ids := c.list(10, nil); !slices.Equal(ids, []string{"a", "c", "b"}) {
		c.Errorf("%q", ids)
	}
	l, err := c.b.List(c.Context(), checkpoint.Query{Limit: 1})
	if err != nil || len(l.Threads) != 1 || !l.More {
		c.Fatalf("%+v, %v", l, err)
	}
	if at := l.Threads[0].SavedAt(); time.Since(at).Abs() > time.Hour {
		c.Errorf("saved at %s", at)
	}
}

func (c checkpoints) pages() {
	var want []string
	for i := range 57 {
		id := fmt.Sprintf("thread %d/é*?[%d]", i, i%7)
		c.save(id, "x", 0)
		want = append(want, id)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 7, 56, 57, 58, 1000} {
		if ids := c.list(limit, nil); !slices.Equal(ids, want) {
			c.Errorf("limit %d: %d ids, %.200q", limit, len(ids), ids)
		}
	}
}

func (c checkpoints) pagesUnderSaves() {
	const n = 60
	for i := range n {
		c.save(strconv.Itoa(i), "x", 0)
	}
	moved := map[string]bool{}
	seen := map[string]bool{}
	for _, id := range c.list(7, func() {
		for range 3 {
			i := strconv.Itoa(rand.IntN(n))
			c.save(i, "y", 0)
			moved[i] = true
		}
		c.save(fmt.Sprintf("new %d", rand.Uint64()), "x", 0)
	}) {
		if seen[id] {
			c.Errorf("%s is listed twice", id)
		}
		seen[id] = true
	}
	for i := range n {
		if id := strconv.Itoa(i); !seen[id] && !moved[id] {
			c.Errorf("%s is missing", id)
		}
	}
}

func (c checkpoints) liveOnly() {
	c.save("kept", "x", 0)
	for i := range 40 {
		c.save(strconv.Itoa(i), "x", soon)
	}
	c.save("last", "x", time.Hour)
	for i := range 40 {
		c.ended(strconv.Itoa(i))
	}
	for _, limit := range []int{1, 3, 100} {
		if ids := c.list(limit, nil); !slices.Equal(ids, []string{"last", "kept"}) {
			c.Errorf("limit %d: %q", limit, ids)
		}
	}
}

func (c checkpoints) tooLarge() {
	c.save("t", "12345", 0)
	_, err := c.b.Load(c.Context(), "t", checkpoint.Read{Max: 4})
	large, ok := errors.AsType[*checkpoint.TooLargeError](err)
	if !ok || large.Size != 5 || large.Limit != 4 || errors.Is(err, readthrough.ErrNotFound) {
		c.Errorf("%v", err)
	}
	if rec, err := c.b.Load(c.Context(), "t", checkpoint.Read{Max: 5}); err != nil || string(rec.Value) != "12345" {
		c.Errorf("%v, %v", rec, err)
	}
}

func (c checkpoints) apart() {
	ids := []string{
		"t", "T", "t:", ":t", "t:t", "t%", "t%25", "t 1", "t*", "[t]", "{t}", "t}", "\x00", "t\x00", "é", "\xff", "threads", "threads.index",
		"1 2 1", "@t", "thread.mark:t",
	}
	ids = append(ids, slices.Concat(alike(), unreadable())...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range ids {
		c.save(id, id, 0)
	}
	for _, id := range ids {
		c.want(id, id)
	}
	got := c.list(4, nil)
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		c.Errorf("%q\nwant %q", got, ids)
	}
	for i, id := range ids {
		c.delete(id)
		for _, other := range ids[i+1:] {
			c.want(other, other)
		}
	}
}

func (c checkpoints) context() {
	c.save("t", "1", 0)
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	_, load := c.b.Load(ctx, "t", checkpoint.Read{Max: 10})
	_, save := c.b.Save(ctx, "t", checkpoint.Write{Value: []byte("2")})
	_, list := c.b.List(ctx, checkpoint.Query{Limit: 1})
	for name, err := range map[string]error{
		"load": load, "save": save, "list": list, "ping": c.b.Ping(ctx),
		"keep": c.b.Keep(ctx, "t", checkpoint.Keep{Pin: true}), "delete": c.b.Delete(ctx, "t"),
	} {
		if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			c.Errorf("%s: %v", name, err)
		}
	}
	c.want("t", "1")
}

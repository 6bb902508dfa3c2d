package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

// Policies runs the conformance suite of policy authorities. open makes one without documents.
func Policies(t *testing.T, open func(t testing.TB) policy.Authority) {
	for name, test := range map[string]func(authorities){
		"a document is read byte for byte":             authorities.bytes,
		"bytes are not shared with the caller":         authorities.unshared,
		"what was never put is absent as of a version": authorities.absent,
		"each change has a later version":              authorities.versions,
		"every answer is as of the latest change":      authorities.latest,
		"several are read in one snapshot":             authorities.snapshot,
		"an import stores all and leaves the others":   authorities.imports,
		"ids are apart": authorities.apart,
		"writers at a time have versions of their own":    authorities.writers,
		"no answer is older than the version it names":    authorities.honest,
		"a call whose context has ended changes nothing":  authorities.context,
		"deleting what is not there is no error":          authorities.deletes,
		"an import of nothing is none":                    authorities.importsNothing,
		"an import that is left in the middle is counted": authorities.importsLeft,
	} {
		t.Run(name, func(t *testing.T) { test(authorities{T: t, a: open(t)}) })
	}
}

// authorities is an authority with the calls of the suite, which fail the test on an error.
type authorities struct {
	*testing.T
	a policy.Authority
}

func policyID(n int) string { return fmt.Sprintf("%032x", n) }

func (p authorities) put(id, document string) uint64 {
	p.Helper()
	asOf, err := p.a.Put(p.Context(), id, []byte(document), "")
	if err != nil {
		p.Fatalf("Put: %v", err)
	}
	return asOf
}

func (p authorities) remove(id string) (asOf uint64, existed bool) {
	p.Helper()
	asOf, existed, err := p.a.Delete(p.Context(), id, "")
	if err != nil {
		p.Fatalf("Delete: %v", err)
	}
	return asOf, existed
}

// want reads a document, "" for none, and answers the version.
func (p authorities) want(id, document string) uint64 {
	p.Helper()
	rec, found, err := p.a.Get(p.Context(), id)
	if err != nil || found != (document != "") || string(rec.Document) != document {
		p.Fatalf("Get %s: %q, %t, %v; want %q", id, rec.Document, found, err, document)
	}
	return rec.AsOf
}

func (p authorities) many(ids ...string) (map[string][]byte, uint64) {
	p.Helper()
	found, asOf, err := p.a.GetMany(p.Context(), ids)
	if err != nil {
		p.Fatalf("GetMany: %v", err)
	}
	return found, asOf
}

func (p authorities) head() uint64 {
	p.Helper()
	asOf, err := p.a.Head(p.Context())
	if err != nil {
		p.Fatalf("Head: %v", err)
	}
	return asOf
}

// documents are some, in the order of their ids.
func documents(of map[string]string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, id := range slices.Sorted(maps.Keys(of)) {
			if !yield(id, []byte(of[id])) {
				return
			}
		}
	}
}

func (p authorities) bytes() {
	for i, document := range []string{`{"a":"ü","b":"\u0000"}`, " { } ", `{"n":1e400}`} {
		p.put(policyID(i), document)
		p.want(policyID(i), document)
	}
	p.put(policyID(0), "{}")
	p.want(policyID(0), "{}")
}

func (p authorities) unshared() {
	in := []byte(`{"a":1}`)
	if _, err := p.a.Put(p.Context(), policyID(1), in, ""); err != nil {
		p.Fatal(err)
	}
	clear(in)
	rec, _, err := p.a.Get(p.Context(), policyID(1))
	if err != nil {
		p.Fatal(err)
	}
	clear(rec.Document)
	found, _ := p.many(policyID(1))
	clear(found[policyID(1)])
	p.want(policyID(1), `{"a":1}`)
}

func (p authorities) absent() {
	before := p.want(policyID(1), "")
	asOf := p.put(policyID(2), "{}")
	if now := p.want(policyID(1), ""); now != asOf || now <= before {
		p.Fatalf("absent as of %d, then of %d, after a change of version %d", before, now, asOf)
	}
}

func (p authorities) versions() {
	last := p.head()
	for i := range 20 {
		var asOf uint64
		if i%3 == 2 {
			asOf, _ = p.remove(policyID(1))
		} else {
			asOf = p.put(policyID(1), strconv.Itoa(i)) // the same document again is a change, too
		}
		if asOf <= last {
			p.Fatalf("version %d after %d", asOf, last)
		}
		last = asOf
	}
}

func (p authorities) latest() {
	for i := range 3 {
		p.put(policyID(1), "{}")
		asOf := p.put(policyID(2), strconv.Itoa(i))
		_, many := p.many(policyID(1), policyID(3))
		for what, got := range map[string]uint64{
			"Get": p.want(policyID(1), "{}"), "Get of none": p.want(policyID(3), ""), "GetMany": many, "Head": p.head(),
		} {
			if got != asOf {
				p.Errorf("%s is as of %d, after version %d", what, got, asOf)
			}
		}
	}
}

func (p authorities) snapshot() {
	p.put(policyID(1), "1")
	asOf := p.put(policyID(2), "2")
	found, at := p.many(policyID(2), policyID(3), policyID(1), policyID(2))
	if len(found) != 2 || string(found[policyID(1)]) != "1" || string(found[policyID(2)]) != "2" || at != asOf {
		p.Fatalf("%q as of %d", found, at)
	}
	if found, at = p.many(); len(found) != 0 || at != asOf {
		p.Fatalf("%q as of %d, where nothing was asked for", found, at)
	}

	// One writer writes a number into the first and then into the second: nobody sees the second ahead, or two behind.
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for n := range 50 {
			for id := 1; id <= 2; id++ {
				if _, err := p.a.Put(p.Context(), policyID(id), []byte(strconv.Itoa(10+n)), ""); err != nil {
					p.Errorf("Put: %v", err)
				}
			}
		}
	})
	last := at
	for range 200 {
		found, at := p.many(policyID(1), policyID(2))
		first, _ := strconv.Atoi(string(found[policyID(1)]))
		second, _ := strconv.Atoi(string(found[policyID(2)]))
		if second >= 10 && (second > first || second < first-1) || at < last {
			p.Fatalf("%d and %d as of %d, after %d", first, second, at, last)
		}
		last = at
	}
}

func (p authorities) imports() {
	p.put(policyID(1), "old")
	before := p.put(policyID(2), "left")
	in := map[string]string{}
	for i := range 300 {
		in[policyID(10+i)] = strconv.Itoa(i)
	}
	in[policyID(1)] = "new"
	n, asOf, err := p.a.Import(p.Context(), documents(in))
	if err != nil || n != len(in) || asOf <= before || p.head() < asOf {
		p.Fatalf("Import: %d as of %d, %v", n, asOf, err)
	}
	for id, document := range in {
		p.want(id, document)
	}
	p.want(policyID(2), "left")
}

func (p authorities) importsNothing() {
	p.put(policyID(1), "1")
	before := p.head()
	n, _, err := p.a.Import(p.Context(), documents(nil))
	if err != nil || n != 0 || p.head() < before {
		p.Fatalf("%d, %v", n, err)
	}
	p.want(policyID(1), "1")
}

// A context that ends while records come: what is counted is there, and nothing else is.
func (p authorities) importsLeft() {
	ctx, cancel := context.WithCancel(p.Context())
	defer cancel()
	n, _, err := p.a.Import(ctx, func(yield func(string, []byte) bool) {
		for i := range 2000 {
			if i == 1500 {
				cancel()
			}
			if !yield(policyID(i), []byte("{}")) {
				return
			}
		}
	})
	if err == nil {
		p.Fatalf("imported %d with a context that had ended", n)
	}
	stored := 0
	for i := range 2000 {
		if _, found, err := p.a.Get(p.Context(), policyID(i)); err != nil {
			p.Fatal(err)
		} else if found {
			stored++
		}
	}
	if stored != n {
		p.Errorf("%d are there and %d were counted", stored, n)
	}
}

func (p authorities) apart() {
	ids := []string{policyID(0), policyID(1), policyID(16), "f" + policyID(0)[1:], policyID(0)[1:] + "f"}
	for _, id := range ids {
		p.put(id, id)
	}
	p.remove(ids[1])
	for i, id := range ids {
		if i == 1 {
			p.want(id, "")
		} else {
			p.want(id, id)
		}
	}
}

func (p authorities) deletes() {
	asOf := p.put(policyID(1), "{}")
	gone, existed := p.remove(policyID(1))
	if !existed || gone <= asOf {
		p.Fatalf("deleted as of %d after %d, there was one: %t", gone, asOf, existed)
	}
	if again, existed := p.remove(policyID(1)); existed || again < gone {
		p.Fatalf("deleted again as of %d after %d, there was one: %t", again, gone, existed)
	}
	p.want(policyID(1), "")
}

func (p authorities) writers() {
	const each = 20
	var mu sync.Mutex
	seen := map[uint64]int{}
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			last := uint64(0)
			for i := range each {
				asOf, err := p.a.Put(p.Context(), policyID(i%3), []byte(fmt.Sprint(w, i)), "")
				if err != nil || asOf <= last {
					p.Errorf("version %d after %d, %v", asOf, last, err)
					return
				}
				last = asOf
				mu.Lock()
				seen[asOf]++
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	if len(seen) != 4*each {
		p.Errorf("%d versions of %d changes", len(seen), 4*each)
	}
}

// honest: what is answered as of a version shows every change up to it.
func (p authorities) honest() {
	type change struct {
		asOf uint64
		n    int
	}
	var changes []change
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= 100; n++ {
			asOf, err := p.a.Put(p.Context(), policyID(1), []byte(strconv.Itoa(n)), "")
			if err != nil {
				p.Errorf("Put: %v", err)
				return
			}
			changes = append(changes, change{asOf, n})
		}
	}()
	var answers []change
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		rec, _, err := p.a.Get(p.Context(), policyID(1))
		if err != nil {
			p.Fatal(err)
		}
		n, _ := strconv.Atoi(string(rec.Document)) // 0 for none
		answers = append(answers, change{rec.AsOf, n})
	}
	for _, a := range answers {
		for _, c := range changes {
			if c.asOf <= a.asOf && c.n > a.n {
				p.Fatalf("as of %d it is number %d, and number %d was version %d", a.asOf, a.n, c.n, c.asOf)
			}
		}
	}
}

func (p authorities) context() {
	before := p.put(policyID(1), "1")
	ctx, cancel := context.WithCancel(p.Context())
	cancel()
	_, _, get := p.a.Get(ctx, policyID(1))
	_, _, many := p.a.GetMany(ctx, []string{policyID(1)})
	_, put := p.a.Put(ctx, policyID(1), []byte("2"), "")
	_, _, remove := p.a.Delete(ctx, policyID(1), "")
	_, head := p.a.Head(ctx)
	n, _, imports := p.a.Import(ctx, documents(map[string]string{policyID(2): "2"}))
	for name, err := range map[string]error{
		"Get": get, "GetMany": many, "Put": put, "Delete": remove, "Head": head, "Import": imports,
	} {
		if !errors.Is(err, context.Canceled) {
			p.Errorf("%s: %v", name, err)
		}
	}
	if now := p.want(policyID(1), "1"); now != before || n != 0 {
		p.Errorf("version %d after %d, %d imported", now, before, n)
	}
}

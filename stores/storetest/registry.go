package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// registryTerms are long enough that nothing ends by itself while a test runs.
var registryTerms = registry.Terms{TTL: 10 * time.Minute, Grace: time.Minute}

// Registries is what every registry.Backend must do. open answers an empty backend of its own for each call.
func Registries(t *testing.T, open func(t testing.TB) registry.Backend) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, registry.Backend)
	}{
		{"WhatIsPutIsRead", registryReads},
		{"AbsenceIsNotFoundAndAnEmptyListIsNotNil", registryAbsence},
		{"PutReplacesTheWholeRecord", registryReplaces},
		{"AZeroHeartbeatIsNowAndOneToComeToo", registryZero},
		{"BeatSetsTheHeartbeatAndNothingElse", registryBeats},
		{"BeatBringsBackFromOfflineAndLeavesBusy", registryStatus},
		{"NothingRevivesWhatIsRemoved", registryRemoved},
		{"SilenceEndsAnAgentEverywhere", registrySilence},
		{"BeatsKeepAnAgentPastItsTTL", registryKept},
		{"UpdatesAreNoSignOfLife", registryUpdates},
		{"TakeStopsWhereTheLoadIsFull", registryTakes},
		{"ManyTakeAtOnceAndNoMoreThanThereIsRoomFor", registryManyTake},
		{"ReapMarksTheSilentOnceAndOnlyThem", registryReaps},
		{"ReapWaitsForASilenceOfThisLife", registryLife},
		{"ListHasNoDuplicatesAndSaysHowLongItLasts", registryLists},
		{"FlushRemovesAll", registryFlushes},
		{"HostileIDsAreIDsLikeOthers", registryHostile},
		{"UnknownMembersOfTheJSONStay", registryUnknown},
		{"HeartbeatsLoseNoRegistration", registryRace},
		{"CallsEndWithTheirContext", registryContext},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func registryPut(t testing.TB, b registry.Backend, a registry.Agent, terms registry.Terms) registry.Agent {
	t.Helper()
	if a.Status == "" {
		a.Status = registry.Available
	}
	stored, _, err := b.Put(t.Context(), a, terms)
	if err != nil {
		t.Fatalf("Put %q: %v", a.ID, err)
	}
	return stored
}

func registryGet(t testing.TB, b registry.Backend, id string) registry.Agent {
	t.Helper()
	a, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get %q: %v", id, err)
	}
	return a
}

func registryList(t testing.TB, b registry.Backend, terms registry.Terms) ([]registry.Agent, registry.Listing) {
	t.Helper()
	l, err := b.List(t.Context(), terms)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	slices.SortFunc(l.Agents, func(a, b registry.Agent) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return l.Agents, l
}

func registryBeat(t testing.TB, b registry.Backend, id string, terms registry.Terms) bool {
	t.Helper()
	revived, _, err := b.Beat(t.Context(), id, terms)
	if err != nil {
		t.Fatalf("Beat %q: %v", id, err)
	}
	return revived
}

func registryIDs(agents []registry.Agent) []string {
	ids := []string{}
	for _, a := range agents {
		ids = append(ids, a.ID)
	}
	return ids
}

func registryGone(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%s of an agent that is not there: %v", what, err)
	}
}

// registryEventually waits for what only time brings.
func registryEventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func registryReads(t *testing.T, b registry.Backend) {
	beat := time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	want := registry.Agent{
		ID: "a1", Name: `n "é" <b>`, Capabilities: registry.Capable("go", "sql"), Status: registry.Busy,
		LastHeartbeat: beat, CurrentLoad: 1<<53 - 1, MaxLoad: 1<<53 - 1,
	}
	registryPut(t, b, want, registryTerms)
	got := registryGet(t, b, "a1")
	all, _ := registryList(t, b, registryTerms)
	if len(all) != 1 {
		t.Fatalf("%d agents", len(all))
	}
	for _, got := range []registry.Agent{got, all[0]} {
		if got.ID != want.ID || got.Name != want.Name || got.Capabilities.String() != "[go sql]" || got.Status != want.Status ||
			!got.LastHeartbeat.Equal(beat) || got.LastHeartbeat.Location() != time.UTC ||
			got.CurrentLoad != want.CurrentLoad || got.MaxLoad != want.MaxLoad {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func registryAbsence(t *testing.T, b registry.Backend) {
	_, err := b.Get(t.Context(), "nobody")
	registryGone(t, "Get", err)
	_, err = b.Delete(t.Context(), "nobody")
	registryGone(t, "Delete", err)
	_, _, err = b.Beat(t.Context(), "nobody", registryTerms)
	registryGone(t, "Beat", err)
	for _, kind := range []registry.UpdateKind{registry.SetStatus, registry.SetLoad, registry.Take, registry.Give} {
		_, _, err = b.Update(t.Context(), "nobody", registry.Update{Kind: kind, Status: registry.Busy})
		registryGone(t, "Update", err)
	}
	all, l := registryList(t, b, registryTerms)
	if all == nil || len(all) != 0 || l.Lasts != 0 {
		t.Errorf("%v, lasts %s", all, l.Lasts)
	}
	ids, _, err := b.Reap(t.Context(), 0, registryTerms)
	if len(ids) != 0 || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

func registryReplaces(t *testing.T, b registry.Backend) {
	before := registry.Agent{ID: "a", Name: "old", Capabilities: registry.Capable("x"), CurrentLoad: 3, MaxLoad: 4}
	registryPut(t, b, before, registryTerms)
	registryPut(t, b, registry.Agent{ID: "a", Name: "new"}, registryTerms)
	if got := registryGet(t, b, "a"); got.Name != "new" || got.Capabilities.Len() != 0 || got.CurrentLoad != 0 || got.MaxLoad != 0 {
		t.Errorf("%+v", got)
	}
}

func registryZero(t *testing.T, b registry.Backend) {
	for i, beat := range []time.Time{{}, time.Now().Add(24 * time.Hour)} {
		id := fmt.Sprint(i)
		stored := registryPut(t, b, registry.Agent{ID: id, LastHeartbeat: beat}, registryTerms)
		got := registryGet(t, b, id)
		// The clock is the backend's. It is near to ours in a test.
		if age := time.Since(got.LastHeartbeat); age > 5*time.Minute || age < -5*time.Minute {
			t.Errorf("the heartbeat of %s became %s", beat, got.LastHeartbeat)
		}
		if !stored.LastHeartbeat.Equal(got.LastHeartbeat) {
			t.Errorf("stored %s, answered %s", got.LastHeartbeat, stored.LastHeartbeat)
		}
	}
}

func registryBeats(t *testing.T, b registry.Backend) {
	old := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	registryPut(t, b, registry.Agent{
		ID: "a", Name: "n", Capabilities: registry.Capable("c"), CurrentLoad: 1<<53 - 1, LastHeartbeat: old,
	}, registryTerms)
	if registryBeat(t, b, "a", registryTerms) {
		t.Error("revived an agent that was available")
	}
	got := registryGet(t, b, "a")
	if !got.LastHeartbeat.After(old.Add(50 * time.Minute)) {
		t.Errorf("last heartbeat %s", got.LastHeartbeat)
	}
	if got.Name != "n" || got.Capabilities.String() != "[c]" || got.Status != registry.Available || got.CurrentLoad != 1<<53-1 {
		t.Errorf("%+v", got)
	}
}

func registryStatus(t *testing.T, b registry.Backend) {
	for _, test := range []struct{ before, after registry.Status }{
		{registry.Available, registry.Available}, {registry.Busy, registry.Busy}, {registry.Offline, registry.Available},
	} {
		registryPut(t, b, registry.Agent{ID: "a", Status: test.before}, registryTerms)
		revived := registryBeat(t, b, "a", registryTerms)
		if got := registryGet(t, b, "a").Status; got != test.after || revived != (test.before != test.after) {
			t.Errorf("%s became %s, revived %t", test.before, got, revived)
		}
	}
}

func registryRemoved(t *testing.T, b registry.Backend) {
	registryPut(t, b, registry.Agent{ID: "a"}, registryTerms)
	if _, err := b.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_, _, err := b.Beat(t.Context(), "a", registryTerms)
	registryGone(t, "Beat", err)
	_, _, err = b.Update(t.Context(), "a", registry.Update{Kind: registry.SetLoad, Load: 1})
	registryGone(t, "Update", err)
	_, err = b.Get(t.Context(), "a")
	registryGone(t, "Get", err)
	if all, _ := registryList(t, b, registryTerms); len(all) != 0 {
		t.Errorf("%v", all)
	}
}

func registrySilence(t *testing.T, b registry.Backend) {
	short := registry.Terms{TTL: 30 * time.Millisecond, Grace: time.Minute}
	registryPut(t, b, registry.Agent{ID: "stays"}, registryTerms)
	registryPut(t, b, registry.Agent{ID: "silent", LastHeartbeat: time.Now().Add(-time.Hour)}, short)
	registryEventually(t, "the end of a silent agent", func() bool {
		_, err := b.Get(t.Context(), "silent")
		return errors.Is(err, readthrough.ErrNotFound)
	})
	_, _, err := b.Beat(t.Context(), "silent", registryTerms)
	registryGone(t, "Beat", err)
	_, _, err = b.Update(t.Context(), "silent", registry.Update{Kind: registry.SetLoad, Load: 1})
	registryGone(t, "Update", err)
	_, err = b.Delete(t.Context(), "silent")
	registryGone(t, "Delete", err)
	if all, _ := registryList(t, b, registryTerms); !slices.Equal(registryIDs(all), []string{"stays"}) {
		t.Errorf("%v", all)
	}
	ids, _, err := b.Reap(t.Context(), 0, registryTerms)
	if slices.Contains(ids, "silent") || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

func registryKept(t *testing.T, b registry.Backend) {
	short := registry.Terms{TTL: 2 * time.Second, Grace: time.Minute}
	registryPut(t, b, registry.Agent{ID: "a"}, short)
	if registryBeat(t, b, "a", registryTerms) {
		t.Error("revived")
	}
	if _, l := registryList(t, b, registryTerms); l.Lasts < time.Minute {
		t.Errorf("after a beat under a longer TTL the agent lasts %s", l.Lasts)
	}
}

func registryUpdates(t *testing.T, b registry.Backend) {
	short := registry.Terms{TTL: 300 * time.Millisecond, Grace: time.Minute}
	old := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	registryPut(t, b, registry.Agent{ID: "a", Name: "n", LastHeartbeat: old}, short)
	for _, u := range []registry.Update{
		{Kind: registry.SetLoad, Load: 2},
		{Kind: registry.Take},
		{Kind: registry.Give},
		{Kind: registry.SetStatus, Status: registry.Busy},
	} {
		if changed, _, err := b.Update(t.Context(), "a", u); err == nil && !changed {
			t.Errorf("%+v changed nothing", u)
		}
		if u.Kind == registry.SetStatus || u.Kind == registry.SetLoad {
			if changed, _, err := b.Update(t.Context(), "a", u); err == nil && changed {
				t.Errorf("%+v changed something the second time", u)
			}
		}
	}
	if got, err := b.Get(t.Context(), "a"); err == nil { // on a slow machine it is gone already
		if got.Status != registry.Busy || got.CurrentLoad != 2 || got.Name != "n" || !got.LastHeartbeat.Equal(old) {
			t.Errorf("%+v", got)
		}
	}
	registryEventually(t, "the end of an agent that was changed but did not beat", func() bool {
		_, err := b.Get(t.Context(), "a")
		return errors.Is(err, readthrough.ErrNotFound)
	})
}

func registryTakes(t *testing.T, b registry.Backend) {
	take := func() bool {
		t.Helper()
		changed, _, err := b.Update(t.Context(), "a", registry.Update{Kind: registry.Take})
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	registryPut(t, b, registry.Agent{ID: "a", MaxLoad: 2}, registryTerms)
	for _, want := range []bool{true, true, false} {
		if got := take(); got != want {
			t.Errorf("an agent with room for two takes one: %t, not %t", got, want)
		}
	}
	for _, want := range []bool{true, true, false} {
		if changed, _, err := b.Update(t.Context(), "a", registry.Update{Kind: registry.Give}); changed != want || err != nil {
			t.Errorf("%t, %v", changed, err)
		}
	}
	for _, status := range []registry.Status{registry.Busy, registry.Offline} {
		registryPut(t, b, registry.Agent{ID: "a", Status: status}, registryTerms)
		if take() {
			t.Errorf("an agent that is %s took a task", status)
		}
	}
	registryPut(t, b, registry.Agent{ID: "a"}, registryTerms)
	for range 5 {
		if !take() {
			t.Error("an agent without a limit refused")
		}
	}
	if load := registryGet(t, b, "a").CurrentLoad; load != 5 {
		t.Errorf("load %d", load)
	}
	const greatest = 1<<53 - 1
	registryPut(t, b, registry.Agent{ID: "a", CurrentLoad: greatest}, registryTerms)
	if take() {
		t.Error("an agent with the greatest load took a task")
	}
	if a := registryGet(t, b, "a"); a.CurrentLoad != greatest || a.Free() {
		t.Errorf("load %d, free %t", a.CurrentLoad, a.Free())
	}
	if changed, _, err := b.Update(t.Context(), "a", registry.Update{Kind: registry.Give}); !changed || err != nil {
		t.Errorf("an agent with the greatest load gives one: %t, %v", changed, err)
	}
	if !take() {
		t.Error("an agent with less than the greatest load refused")
	}
}

func registryManyTake(t *testing.T, b registry.Backend) {
	registryPut(t, b, registry.Agent{ID: "a", MaxLoad: 10}, registryTerms)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			changed, _, err := b.Update(t.Context(), "a", registry.Update{Kind: registry.Take})
			if err != nil {
				t.Error(err)
			}
			if changed {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if load := registryGet(t, b, "a").CurrentLoad; taken.Load() != 10 || load != 10 {
		t.Errorf("%d took, the load is %d", taken.Load(), load)
	}
}

func registryReaps(t *testing.T, b registry.Backend) {
	const silence = 50 * time.Millisecond
	old := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	registryPut(t, b, registry.Agent{ID: "silent", Name: "n", LastHeartbeat: old}, registryTerms)
	registryPut(t, b, registry.Agent{ID: "busy", Status: registry.Busy, LastHeartbeat: old}, registryTerms)
	registryPut(t, b, registry.Agent{ID: "offline", Status: registry.Offline, LastHeartbeat: old}, registryTerms)
	var ids []string
	registryEventually(t, "a reap that marks", func() bool {
		var err error
		if ids, _, err = b.Reap(t.Context(), silence, registryTerms); err != nil {
			t.Fatal(err)
		}
		return len(ids) > 0
	})
	if !slices.Equal(ids, []string{"busy", "silent"}) {
		t.Errorf("marked %v", ids)
	}
	got := registryGet(t, b, "silent")
	if got.Status != registry.Offline || got.Name != "n" || !got.LastHeartbeat.Equal(old) {
		t.Errorf("%+v", got)
	}
	if again, _, err := b.Reap(t.Context(), silence, registryTerms); len(again) != 0 || err != nil {
		t.Errorf("a second reap marked %v, %v", again, err)
	}
	registryBeat(t, b, "silent", registryTerms)
	ids, _, err := b.Reap(t.Context(), 10*time.Minute, registryTerms)
	if len(ids) != 0 || err != nil || registryGet(t, b, "silent").Status != registry.Available {
		t.Errorf("marked %v after a beat, %v", ids, err)
	}
}

func registryLife(t *testing.T, b registry.Backend) {
	registryPut(t, b, registry.Agent{ID: "a", LastHeartbeat: time.Now().Add(-time.Hour)}, registryTerms)
	ids, _, err := b.Reap(t.Context(), 10*time.Minute, registryTerms)
	if len(ids) != 0 || err != nil {
		t.Errorf("a backend that began just now marked %v, %v", ids, err)
	}
}

func registryLists(t *testing.T, b registry.Backend) {
	var want []string
	for i := range 50 {
		id := fmt.Sprintf("a%02d", i)
		want = append(want, id)
		for range 2 {
			registryPut(t, b, registry.Agent{ID: id}, registryTerms)
		}
		registryBeat(t, b, id, registryTerms)
	}
	all, l := registryList(t, b, registryTerms)
	if !slices.Equal(registryIDs(all), want) {
		t.Errorf("%v", registryIDs(all))
	}
	if l.Lasts <= 0 || l.Lasts > registryTerms.TTL {
		t.Errorf("lasts %s", l.Lasts)
	}
}

func registryFlushes(t *testing.T, b registry.Backend) {
	for i := range 30 {
		registryPut(t, b, registry.Agent{ID: fmt.Sprint(i)}, registryTerms)
	}
	if _, err := b.Flush(t.Context(), registryTerms); err != nil {
		t.Fatal(err)
	}
	if all, _ := registryList(t, b, registryTerms); len(all) != 0 {
		t.Errorf("%v", all)
	}
	_, _, err := b.Beat(t.Context(), "1", registryTerms)
	registryGone(t, "Beat", err)
	registryPut(t, b, registry.Agent{ID: "1"}, registryTerms)
	if all, _ := registryList(t, b, registryTerms); len(all) != 1 {
		t.Errorf("%v", all)
	}
}

func registryHostile(t *testing.T, b registry.Backend) {
	want := []string{"!", "%2A", "*", "?", "[a]", "a:b", "a b", "{x}", "é", `"\`, "lc-index", ":agent:x", "\n"}
	want = append(want, alike()...)
	slices.Sort(want)
	want = slices.Compact(want)
	for _, id := range want {
		registryPut(t, b, registry.Agent{ID: id, Name: "n" + id}, registryTerms)
	}
	all, l := registryList(t, b, registryTerms)
	if got := registryIDs(all); !slices.Equal(got, want) || len(l.Faulty) > 0 {
		t.Errorf("%q, faulty %q", got, l.Faulty)
	}
	for i, id := range want {
		registryBeat(t, b, id, registryTerms)
		if a := registryGet(t, b, id); a.Name != "n"+id {
			t.Errorf("%+v", a)
		}
		if _, err := b.Delete(t.Context(), id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
		if all, _ := registryList(t, b, registryTerms); len(all) != len(want)-i-1 {
			t.Errorf("%d left after %q went", len(all), id)
		}
	}
}

func registryUnknown(t *testing.T, b registry.Backend) {
	var a registry.Agent
	doc := `{"id":"a","status":"offline","last_heartbeat":"0001-01-01T00:00:00Z","big":18446744073709551615,"none":[],"obj":{}}`
	if err := json.Unmarshal([]byte(doc), &a); err != nil {
		t.Fatal(err)
	}
	registryPut(t, b, a, registryTerms)
	registryBeat(t, b, "a", registryTerms)
	if _, _, err := b.Update(t.Context(), "a", registry.Update{Kind: registry.Take}); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(registryGet(t, b, "a"))
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"big": "18446744073709551615", "none": "[]", "obj": "{}", "status": `"available"`, "current_load": "1",
	} {
		if got := string(members[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func registryRace(t *testing.T, b registry.Backend) {
	const rounds = 50
	registryPut(t, b, registry.Agent{ID: "a"}, registryTerms)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := b.Beat(t.Context(), "a", registryTerms); err != nil && !errors.Is(err, readthrough.ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range rounds {
		name := fmt.Sprint(i)
		registryPut(t, b, registry.Agent{ID: "a", Name: name}, registryTerms)
		if got := registryGet(t, b, "a").Name; got != name {
			t.Errorf("a heartbeat brought back registration %s after %s", got, name)
		}
		if i%5 == 0 {
			if _, err := b.Delete(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			_, err := b.Get(t.Context(), "a")
			registryGone(t, "Get", err)
		}
	}
	close(stop)
	wg.Wait()
}

func registryContext(t *testing.T, b registry.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, put := b.Put(ctx, registry.Agent{ID: "a", Status: registry.Available}, registryTerms)
	_, get := b.Get(ctx, "a")
	_, list := b.List(ctx, registryTerms)
	_, _, beat := b.Beat(ctx, "a", registryTerms)
	_, _, reap := b.Reap(ctx, 0, registryTerms)
	_, flush := b.Flush(ctx, registryTerms)
	for what, err := range map[string]error{"Put": put, "Get": get, "List": list, "Beat": beat, "Reap": reap, "Flush": flush} {
		if err == nil || errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s under an ended context: %v", what, err)
		}
	}
}

package readthrough_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

func audit(t *testing.T, c *cache, change ...func(*readthrough.AuditConfig[string, int])) *readthrough.Auditor[string, int] {
	t.Helper()
	cfg := readthrough.AuditConfig[string, int]{Cache: c, Every: time.Millisecond, After: 50 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	a, err := readthrough.NewAuditor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(t.Context()) })
	return a
}

// lasting keeps a cache's lease going for as long as a test takes.
func lasting(t *testing.T, src *source, versioned bool, rec *recorder) *cache {
	t.Helper()
	src.versioned = versioned
	cfg := config{Name: "test", Loader: src, Bound: 50 * time.Millisecond, Sole: true}
	if rec != nil {
		cfg.Telemetry = rec
	}
	return open(t, cfg)
}

func TestTheAuditorFindsNothingWhereChangesAreTold(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		rec := newRecorder()
		src := newSource(map[string]int{"k": 1, "m": 1})
		c := lasting(t, src, versioned, rec)
		a := audit(t, c)
		n := 1
		redistest.Eventually(t, 10*time.Second, "audits", func() bool {
			n++
			src.put("k", n)
			invalidate(t, c, "k")
			wantGet(t, c, "k", n)
			wantGet(t, c, "m", 1)
			return a.Report().Fresh > 20
		})
		if r := a.Report(); r.Stale != 0 || r.Oldest <= 0 {
			t.Errorf("versions %t: %+v", versioned, r)
		}
		if rec.count(telemetry.AuditFresh) == 0 || rec.count(telemetry.AuditStale) != 0 {
			t.Errorf("versions %t: it was told otherwise", versioned)
		}
	}
}

func TestTheAuditorFindsAChangeThatNobodyTold(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		rec := newRecorder()
		src := newSource(map[string]int{"k": 1})
		c := lasting(t, src, versioned, rec)
		wantGet(t, c, "k", 1)
		src.put("k", 2)
		a := audit(t, c)
		redistest.Eventually(t, 10*time.Second, "finding", func() bool { return a.Report().Stale > 0 && rec.count(telemetry.AuditStale) > 0 })
	}
}

func TestTheAuditorFindsAnAbsenceThatEnded(t *testing.T) {
	src := newSource(nil)
	c := lasting(t, src, true, nil)
	wantErr(t, c, "k", readthrough.ErrNotFound)
	src.put("k", 1)
	a := audit(t, c)
	redistest.Eventually(t, 10*time.Second, "finding", func() bool { return a.Report().Stale > 0 })
}

func TestTheAuditorAccusesNobodyWhileTheAuthorityFails(t *testing.T) {
	src := newSource(map[string]int{"k": 1})
	c := lasting(t, src, true, nil)
	wantGet(t, c, "k", 1)
	src.fail(errors.New("down"))
	a := audit(t, c)
	redistest.Eventually(t, 10*time.Second, "verdicts", func() bool { return a.Report().Unknown > 5 })
	if r := a.Report(); r.Stale != 0 || r.Fresh != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAnEqualThatPanicsAccusesNobody(t *testing.T) {
	src := newSource(map[string]int{"k": 1})
	c := lasting(t, src, false, nil)
	wantGet(t, c, "k", 1)
	src.put("k", 2)
	a := audit(t, c, func(cfg *readthrough.AuditConfig[string, int]) {
		cfg.Equal = func(int, int) bool { panic("equal") }
	})
	redistest.Eventually(t, 10*time.Second, "verdicts", func() bool { return a.Report().Fresh > 0 })
	if r := a.Report(); r.Stale != 0 {
		t.Errorf("%+v", r)
	}
}

func TestNewAuditorRefusesAWrongFieldByName(t *testing.T) {
	c := lasting(t, newSource(nil), false, nil)
	for field, cfg := range map[string]readthrough.AuditConfig[string, int]{
		"Cache": {},
		"Every": {Cache: c, Every: time.Microsecond},
		"After": {Cache: c, After: time.Millisecond},
	} {
		if _, err := readthrough.NewAuditor(cfg); err == nil || !strings.Contains(err.Error(), "AuditConfig."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := readthrough.NewAuditor(readthrough.AuditConfig[string, int]{Cache: c, Every: -1}); err == nil {
		t.Error("a negative time is accepted")
	}
}

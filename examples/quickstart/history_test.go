package main

import "testing"

func TestJudgeFindsAFabricatedStaleDecision(t *testing.T) {
	r := revocation{called: 100, returned: 200, version: 7}
	for name, c := range map[string]struct {
		check check
		want  tally
	}{
		"old before the call":            {check{Began: 99, AsOf: 6, Allowed: true}, tally{before: 1}},
		"old while Put is at work":       {check{Began: 150, AsOf: 6, Allowed: true}, tally{before: 1, during: 1}},
		"old as Put returns":             {check{Began: 200, AsOf: 6, Allowed: true}, tally{before: 1, during: 1}},
		"old after Put has returned":     {check{Began: 201, AsOf: 6, Allowed: true}, tally{after: 1, stale: 1}},
		"new before Put has returned":    {check{Began: 150, AsOf: 7}, tally{}},
		"new after Put has returned":     {check{Began: 201, AsOf: 7}, tally{after: 1}},
		"newer after Put has returned":   {check{Began: 201, AsOf: 9}, tally{after: 1}},
		"old policy by a new name":       {check{Began: 201, AsOf: 7, Allowed: true}, tally{after: 1, stale: 1}},
		"the same before it returned":    {check{Began: 150, AsOf: 7, Allowed: true}, tally{stale: 1}},
		"denied by an older version":     {check{Began: 201, AsOf: 6}, tally{after: 1, stale: 1}},
		"denied by one that might be so": {check{Began: 150, AsOf: 6}, tally{}},
	} {
		var got tally
		if got.judge(r, []check{c.check}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestVerdictFailsOnOneStaleDecisionAndOnNothingSeen(t *testing.T) {
	for name, c := range map[string]struct {
		tally tally
		ok    bool
	}{
		"proved":           {tally{before: 5, after: 5}, true},
		"one stale":        {tally{before: 5, after: 5, stale: 1}, false},
		"no old answer":    {tally{after: 5}, false},
		"nothing after":    {tally{before: 5}, false},
		"nothing whatever": {tally{}, false},
	} {
		if err := c.tally.verdict(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerdictFailsOnADecisionThatFailed(t *testing.T) {
	p := &parent{tally: tally{before: 1, after: 1}, results: []*result{{}, {Failed: trouble{Count: 1, First: "x"}}}}
	if p.verdict() == nil {
		t.Error("a failed decision went unnoticed")
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	last := now()
	for range 1000 {
		if t1 := now(); t1 < last {
			t.Fatalf("%d after %d", t1, last)
		} else {
			last = t1
		}
	}
}

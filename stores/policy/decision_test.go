package policy_test

import (
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

func TestZeroDecisionDenies(t *testing.T) {
	var d policy.Decision
	if d.Allowed() || d.Decided() {
		t.Errorf("Allowed() = %v, Decided() = %v, want false, false", d.Allowed(), d.Decided())
	}
	if d.Verdict() != policy.Deny || d.Rule() != -1 || d.Pattern() != "" || d.Mode() != policy.Enforce || d.AsOf() != 0 {
		t.Errorf("zero Decision = %v, rule %d, pattern %q, %v, as of %d", d.Verdict(), d.Rule(), d.Pattern(), d.Mode(), d.AsOf())
	}
}

func TestAllowedFoldsInTheMode(t *testing.T) {
	type key struct {
		verdict policy.Verdict
		mode    policy.Mode
	}
	for k, want := range map[key]bool{
		{policy.Deny, policy.Enforce}:             false,
		{policy.Allow, policy.Enforce}:            true,
		{policy.RequireApproval, policy.Enforce}:  false,
		{policy.Deny, policy.Observe}:             true,
		{policy.Allow, policy.Observe}:            true,
		{policy.RequireApproval, policy.Observe}:  true,
		{policy.Deny, policy.Disabled}:            true,
		{policy.Allow, policy.Disabled}:           true,
		{policy.RequireApproval, policy.Disabled}: true,
	} {
		d := mustNew(t, policy.Draft{Mode: k.mode, Rules: []policy.Rule{{ActionPattern: "*", Decision: k.verdict}}}).Decide("x")
		if d.Allowed() != want {
			t.Errorf("%v under %v: Allowed() = %v, want %v", k.verdict, k.mode, d.Allowed(), want)
		}
		if d.Verdict() != k.verdict || d.Mode() != k.mode {
			t.Errorf("%v under %v reported as %v under %v", k.verdict, k.mode, d.Verdict(), d.Mode())
		}
	}
}

func TestDecisionCarriesItsAsOf(t *testing.T) {
	const asOf = 1<<63 + 1
	plain := mustNew(t, policy.Draft{Rules: []policy.Rule{{ActionPattern: "*", Decision: policy.Allow}}}).Decide("x")
	stamped := plain.At(asOf)
	if stamped.AsOf() != asOf || plain.AsOf() != 0 {
		t.Fatalf("AsOf() = %d and %d, want %d and 0", stamped.AsOf(), plain.AsOf(), uint64(asOf))
	}
	if stamped.At(0) != plain {
		t.Fatal("the stamp changed more than the as-of")
	}
	if (policy.Decision{}).At(asOf).Allowed() {
		t.Fatal("a stamped zero Decision allows")
	}
}

func TestNamesOfVerdictsAndModesAreThoseOfTheContract(t *testing.T) {
	for v, want := range map[policy.Verdict]string{
		policy.Deny: "Deny", policy.Allow: "Allow", policy.RequireApproval: "RequireApproval", 9: "Verdict(9)",
	} {
		if v.String() != want {
			t.Errorf("Verdict.String() = %q, want %q", v, want)
		}
	}
	for m, want := range map[policy.Mode]string{
		policy.Enforce: "enforce", policy.Observe: "observe", policy.Disabled: "disabled", 9: "Mode(9)",
	} {
		if m.String() != want {
			t.Errorf("Mode.String() = %q, want %q", m, want)
		}
	}
}

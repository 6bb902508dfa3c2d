package policy

import "fmt"

// Verdict is what a rule says about an action. The zero Verdict is Deny.
type Verdict uint8

// The verdicts of the contract. Their names in JSON are matched exactly, case included.
const (
	// Deny refuses the action.
	Deny Verdict = iota
	// Allow lets the action happen.
	Allow
	// RequireApproval refuses the action until a human has approved it.
	RequireApproval
)

var verdictNames = [...]string{Deny: "Deny", Allow: "Allow", RequireApproval: "RequireApproval"}

// String returns the verdict's name in JSON, or Verdict(n) for a value that is none.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Mode says what becomes of a verdict. The zero Mode is Enforce.
type Mode uint8

// The modes of the contract. Their names in JSON are matched exactly, case included.
const (
	// Enforce: only the verdict Allow allows. It is the mode of a document that names none.
	Enforce Mode = iota
	// Observe: every action is allowed; the verdict is there to be recorded.
	Observe
	// Disabled: every action is allowed, and the verdict is of no interest to the document's author.
	Disabled
)

var modeNames = [...]string{Enforce: "enforce", Observe: "observe", Disabled: "disabled"}

// String returns the mode's name in JSON, or Mode(n) for a value that is none.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Decision is the answer to one check, with what an audit record needs. It is a comparable value without references
// to anything mutable. The zero Decision is "no decision": it denies, whatever the reason there was none.
type Decision struct {
	pattern string
	asOf    uint64
	rule    int32 // index of the rule plus one; 0: no rule matched
	verdict Verdict
	mode    Mode
	decided bool // a document was consulted
}

// Allowed reports whether the action may happen: a document was consulted, and either its verdict is Allow or its mode
// is not Enforce. RequireApproval under Enforce is not allowed.
func (d Decision) Allowed() bool {
	return d.decided && (d.verdict == Allow || d.mode != Enforce)
}

// Decided reports whether a document was consulted. It is false for the zero Decision only.
func (d Decision) Decided() bool { return d.decided }

// Verdict returns what the matching rule says, or Deny when no rule matched. Observe and Disabled do not change it.
func (d Decision) Verdict() Verdict { return d.verdict }

// Mode returns the enforcement mode of the document that was consulted.
func (d Decision) Mode() Mode { return d.mode }

// Rule returns the index of the rule that matched, counted from 0, or -1 when none did.
func (d Decision) Rule() int { return int(d.rule) - 1 }

// Pattern returns the action pattern of the rule that matched, as the document has it, or "" when none did.
func (d Decision) Pattern() string { return d.pattern }

// AsOf returns the authority's version number at which the document was read, or 0 when that is not known. A tool that
// acts on the decision later can use it as a fencing token.
func (d Decision) AsOf() uint64 { return d.asOf }

// at returns d stamped with the version its document was read at.
func (d Decision) at(asOf uint64) Decision {
	d.asOf = asOf
	return d
}

package policy_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/layercache/layercache/stores/policy"
)

// matches reports whether pattern matches action.
func matches(tb testing.TB, pattern, action string) bool {
	tb.Helper()
	doc := mustNew(tb, policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern, Decision: policy.Allow}}})
	return doc.Decide(action).Allowed()
}

func TestPatternsMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{``, []string{""}, []string{"a", "*"}},
		{`tool:shell`, []string{"tool:shell"}, []string{"tool:shel", "tool:shell2", "Tool:shell", ""}},
		{`*`, []string{"", "a", "a:b/c", "\xff", "é\n"}, nil},
		{`***`, []string{"", "a"}, nil},
		{`tool:*`, []string{"tool:", "tool:a:b/c"}, []string{"tool", "xtool:", ""}},
		{`*.env`, []string{".env", "a/b.env"}, []string{".envx", "env"}},
		{`a*b`, []string{"ab", "a:/b", "abb"}, []string{"a", "b", "ba", "abc"}},
		{`aba*aba`, []string{"abaaba", "abaxaba"}, []string{"aba", "ababa"}},
		{`*a*b*c*`, []string{"abc", "xaxbxcx"}, []string{"acb", "ab", ""}},
		{`*ab*ab*`, []string{"abab", "xabxabx"}, []string{"ab", "aab"}},
		{`?`, []string{"a", "é", "\xff", "€"}, []string{"", "ab", "\xc3\xc3", "\xe2\x82"}},
		{`??`, []string{"ab", "é€", "\xe2\x82"}, []string{"a", "abc", "é"}},
		{`*?`, []string{"a", "é", "ab"}, []string{""}},
		{`*??`, []string{"ab", "éa"}, []string{"é", "a", ""}},
		{`?*é`, []string{"éé", "aé"}, []string{"é"}},
		{`[a-c]`, []string{"a", "b", "c"}, []string{"d", "", "ab", "A"}},
		{`[!a-c]`, []string{"d", "é", "\xff", "!"}, []string{"a", "", "dd"}},
		{`[a-]`, []string{"a", "-"}, []string{"b"}},
		{`[-a]`, []string{"a", "-"}, []string{"b"}},
		{`[!-a]`, []string{"b"}, []string{"a", "-"}},
		{`[a-c-e]`, []string{"b", "-", "e"}, []string{"d"}},
		{`[a!^]`, []string{"a", "!", "^"}, []string{"b"}},
		{`[!^]`, []string{"a", "!"}, []string{"^"}},
		{`[\]\\\-\^]`, []string{"]", `\`, "-", "^"}, []string{"a"}},
		{`[\a-\c]`, []string{"b"}, []string{`\`}},
		{`[[]`, []string{"["}, []string{"]"}},
		{`[*?]`, []string{"*", "?"}, []string{"a"}},
		{`[à-é]`, []string{"à", "è"}, []string{"a", "ê", "\xc3"}},
		{`[a-` + "\U0010ffff" + `]`, []string{"a", "\ufffd"}, []string{"\xff"}},
		{"\ufffd", []string{"\ufffd"}, []string{"\xff"}},
		{`*[!é]`, []string{"a"}, []string{"é"}},
		{`*[!é]*`, []string{"éa"}, []string{"é", "éé"}},
		{`\*`, []string{"*"}, []string{"a", `\*`, ""}},
		{`\a\é\\`, []string{`aé\`}, []string{`a`}},
		{`a\**`, []string{"a*", "a*b"}, []string{"ab"}},
		{`*\*`, []string{"*", "a*"}, []string{"a"}},
		{`]{a,b}^!`, []string{"]{a,b}^!"}, []string{"a"}},
		{`tool:fs.*:/etc/?*`, []string{"tool:fs.read:/etc/x"}, []string{"tool:fs.read:/etc/", "tool:fs.read:/var/x"}},
		{`tool:db.query:[a-z][a-z]*_ro`, []string{"tool:db.query:eu_ro", "tool:db.query:eu_x_ro"}, []string{"tool:db.query:e_ro"}},
		{`*a?c*x[yz]`, []string{"abcxy", "aacaxcxz"}, []string{"abxy", "abcx", "abcxa"}},
	} {
		for _, action := range c.yes {
			if !matches(t, c.pattern, action) {
				t.Errorf("%q does not match %q", c.pattern, action)
			}
		}
		for _, action := range c.no {
			if matches(t, c.pattern, action) {
				t.Errorf("%q matches %q", c.pattern, action)
			}
		}
	}
}

func TestFaultyPatternsSayWhatIsWrong(t *testing.T) {
	for pattern, want := range map[string]string{
		`a[`:       "has a set at byte 1 that is not closed",
		`a[b`:      "has a set at byte 1 that is not closed",
		`[!`:       "has a set at byte 0 that is not closed",
		`[a-`:      "has a set at byte 0 that is not closed",
		`[a-\`:     "has a set at byte 0 that is not closed",
		`[\]`:      "has a set at byte 0 that is not closed",
		`é[]`:      `has an empty set at byte 2: write \] for a bracket in a set`,
		`[]a]`:     `has an empty set at byte 0: write \] for a bracket in a set`,
		`[!]a]`:    `has an empty set at byte 0: write \] for a bracket in a set`,
		`*[^a]`:    `has a set at byte 1 that begins with ^: write [! to negate it, or \^`,
		`[az-a]`:   "has a set at byte 0 with a range that runs backwards",
		`a*b\`:     "ends in a backslash that escapes nothing",
		`[a]*[b]\`: "ends in a backslash that escapes nothing",
	} {
		_, err := policy.NewDocument(policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern}}})
		if want = "policy: rules[0].action_pattern " + want; err == nil || err.Error() != want {
			t.Errorf("pattern %q: error = %v, want %s", pattern, err, want)
		}
	}
}

// The longest patterns and the longest action, made so that nearly everything fits nearly everywhere. The bound is
// pattern times action, about four million steps or 15 ms. One more factor of either takes a minute or hours, which the
// limit tells from a slow machine with the race detector on.
func TestHostilePatternsTakeBoundedTime(t *testing.T) {
	action := strings.Repeat("a", policy.MaxAction)
	fill := func(unit, end string) string {
		return strings.Repeat(unit, (policy.MaxPattern-len(end))/len(unit)) + end
	}
	for name, pattern := range map[string]string{
		"stars":            fill("*a", "*b"),
		"stars, no end":    fill("*a", "b*"),
		"any runes":        "*" + fill("?", "b*")[1:],
		"stars and runes":  fill("*?a", "b"),
		"literal and rune": "*" + fill("a?", "b*")[1:],
		"sets":             "*" + fill("[!b]", "b*")[4:],
		"one wide set":     "*[" + fill("b", "]a*")[2:],
		"long literal":     "*" + fill("a", "b*")[1:],
		"rune, long tail":  fill("*?", "?????b"),
	} {
		t.Run(name, func(t *testing.T) {
			if len(pattern) > policy.MaxPattern {
				t.Fatalf("the pattern has %d bytes", len(pattern))
			}
			start := time.Now()
			doc := mustNew(t, policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern, Decision: policy.Allow}}})
			if doc.Decide(action).Allowed() {
				t.Error("the pattern matches; it was meant to fail late")
			}
			took := time.Since(start)
			t.Logf("%v", took)
			if took > 30*time.Second {
				t.Errorf("Decide took %v", took)
			}
		})
	}
}

// reference is a slow matcher written apart from the real one: a table over all positions of pattern and action. It
// reports false for a pattern that is at fault.
func reference(pattern, action string) (matched, valid bool) {
	tokens, valid := referenceTokens([]rune(pattern))
	if !valid {
		return false, false
	}
	var units []rune
	for len(action) > 0 {
		r, size := utf8.DecodeRuneInString(action)
		if r == utf8.RuneError && size == 1 {
			r = -1
		}
		units, action = append(units, r), action[size:]
	}
	reach := make([]bool, len(units)+1) // reach[i]: the tokens so far can match the first i units
	reach[0] = true
	for _, token := range tokens {
		next := make([]bool, len(units)+1)
		for i := range next {
			if token == nil {
				next[i] = reach[i] || (i > 0 && next[i-1])
			} else {
				next[i] = i > 0 && reach[i-1] && token(units[i-1])
			}
		}
		reach = next
	}
	return reach[len(units)], true
}

// referenceTokens returns a predicate per token, nil for a star.
func referenceTokens(p []rune) (tokens []func(rune) bool, valid bool) {
	for len(p) > 0 {
		c := p[0]
		p = p[1:]
		switch c {
		case '*':
			tokens = append(tokens, nil)
		case '?':
			tokens = append(tokens, func(rune) bool { return true })
		case '[':
			negated := len(p) > 0 && p[0] == '!'
			if negated {
				p = p[1:]
			}
			if len(p) == 0 || p[0] == ']' || (p[0] == '^' && !negated) {
				return nil, false
			}
			var in [][2]rune
			for len(p) > 0 && p[0] != ']' {
				take := func() (rune, bool) {
					if len(p) > 0 && p[0] == '\\' {
						p = p[1:]
					}
					if len(p) == 0 {
						return 0, false
					}
					r := p[0]
					p = p[1:]
					return r, true
				}
				low, ok := take()
				if !ok {
					return nil, false
				}
				high := low
				if len(p) >= 2 && p[0] == '-' && p[1] != ']' {
					p = p[1:]
					if high, ok = take(); !ok || high < low {
						return nil, false
					}
				}
				in = append(in, [2]rune{low, high})
			}
			if len(p) == 0 {
				return nil, false
			}
			p = p[1:]
			tokens = append(tokens, func(r rune) bool {
				for _, x := range in {
					if x[0] <= r && r <= x[1] {
						return !negated
					}
				}
				return negated
			})
		default:
			if c == '\\' {
				if len(p) == 0 {
					return nil, false
				}
				c, p = p[0], p[1:]
			}
			tokens = append(tokens, func(r rune) bool { return r == c })
		}
	}
	return tokens, true
}

func FuzzPatternAgreesWithReference(f *testing.F) {
	for _, pattern := range []string{"", "a", "a*", "*a", "a*b", "*", "*a*?b*", "?é[!a-c]\\*", "[]", "[a-", "\\", "*[!é]", "a*?[a-b]", "a\ufffd*"} {
		for _, action := range []string{"", "a", "aabab", "é*x", "\xff\xc3", "\ufffd"} {
			f.Add(pattern, action)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if len(pattern) > policy.MaxPattern || len(action) > 256 || !utf8.ValidString(pattern) {
			return
		}
		want, valid := reference(pattern, action)
		doc, err := policy.NewDocument(policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern, Decision: policy.Allow}}})
		if (err == nil) != valid {
			t.Fatalf("pattern %q: error %v, the reference says valid = %v", pattern, err, valid)
		}
		if err == nil && doc.Decide(action).Allowed() != want {
			t.Fatalf("pattern %q, action %q: matched = %v, the reference says %v", pattern, action, !want, want)
		}
	})
}

func TestRandomPatternsAgreeWithReference(t *testing.T) {
	const seed = 1
	random := newRandom(seed)
	pieces := []string{"*", "*", "?", "a", "b", "ab", "é", "[ab]", "[!a]", "[!é]", `\*`, "\ufffd", "[", `\`, "-", "]", "^"}
	units := []string{"a", "b", "é", "*", "\xff", "\xc3", "\ufffd", "-"}
	for range 200_000 {
		pattern, action := random.join(pieces, 7), random.join(units, 8)
		want, valid := reference(pattern, action)
		doc, err := policy.NewDocument(policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern, Decision: policy.Allow}}})
		if (err == nil) != valid {
			t.Fatalf("seed %d, pattern %q: error %v, the reference says valid = %v", seed, pattern, err, valid)
		}
		if err == nil && doc.Decide(action).Allowed() != want {
			t.Fatalf("seed %d, pattern %q, action %q: want matched = %v", seed, pattern, action, want)
		}
	}
}

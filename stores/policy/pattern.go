package policy

import (
	"strconv"
	"strings"
)

// matcher is a compiled action pattern with the verdict of its rule.
type matcher struct {
	lit     string // all of an exact pattern; else what a match begins with or, for a suffix, ends with
	glob    *glob  // for general patterns only
	shape   shape
	verdict Verdict
}

// shape is what kind of pattern it is: most need one comparison of strings and no general matching.
type shape uint8

const (
	exact   shape = iota // no wildcard
	prefix               // a literal and a star; the pattern "*" is the prefix of length 0
	suffix               // a star and a literal
	general              // anything else
)

func (m *matcher) match(action string) bool {
	switch m.shape {
	case exact:
		return action == m.lit
	case prefix:
		return strings.HasPrefix(action, m.lit)
	case suffix:
		return strings.HasSuffix(action, m.lit)
	default:
		return strings.HasPrefix(action, m.lit) && m.glob.match(action)
	}
}

// compile returns the matcher of a pattern, or what is wrong with the pattern.
func compile(pattern string) (m matcher, problem string) {
	if len(pattern) > MaxPattern {
		return matcher{}, "is longer than " + strconv.Itoa(MaxPattern) + " bytes"
	}
	// The usual shapes need no parsing.
	switch i := strings.IndexAny(pattern, `*?[\`); {
	case i < 0:
		return matcher{shape: exact, lit: pattern}, ""
	case i == len(pattern)-1 && pattern[i] == '*':
		return matcher{shape: prefix, lit: pattern[:i]}, ""
	}
	g, problem := parseGlob(pattern)
	if problem != "" {
		return matcher{}, problem
	}
	head, isLiteral := g.head.literal()
	tail, tailIsLiteral := g.tail.literal()
	switch {
	case !g.star && isLiteral:
		return matcher{shape: exact, lit: head}, ""
	case g.star && len(g.middle) == 0 && tail == "" && isLiteral && tailIsLiteral:
		return matcher{shape: prefix, lit: head}, ""
	case g.star && len(g.middle) == 0 && head == "" && isLiteral && tailIsLiteral:
		return matcher{shape: suffix, lit: tail}, ""
	}
	m = matcher{shape: general, glob: g}
	if len(g.head.tokens) > 0 {
		m.lit = g.head.tokens[0].lit
	}
	return m, ""
}

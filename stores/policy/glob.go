package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// glob is a pattern cut at its stars. The head stands at the beginning of the action, the tail at its end, and each
// middle segment, in order, at the first place where it fits. Taking the first place is enough, because a star takes
// whatever is left; so no choice is ever undone, and a match costs at most the pattern's length times the action's.
//
// An action is read as runes from its beginning; a byte that is not UTF-8 counts as one rune that no literal equals and
// no set contains.
type glob struct {
	head   segment
	star   bool // false: head is all there is
	middle []segment
	tail   segment
}

// segment is a run of tokens without a star.
type segment struct{ tokens []token }

// token matches a literal, or one rune: of a set, or any.
type token struct {
	lit string
	set *set // nil with an empty lit: any rune
}

// set is the inside of [a-z] or [!a-z].
type set struct {
	ranges  []runeRange
	negated bool
}

type runeRange struct{ low, high rune }

// noRune stands for a byte that is not UTF-8.
const noRune rune = -1

func (g *glob) match(action string) bool {
	at := g.head.end(action, 0)
	if at < 0 || !g.star {
		return at == len(action)
	}
	for i := range g.middle {
		if at = g.middle[i].find(action, at); at < 0 {
			return false
		}
	}
	return g.tail.ends(action, at)
}

// literal returns the text of a segment that has no wildcard.
func (s *segment) literal() (string, bool) {
	switch len(s.tokens) {
	case 0:
		return "", true
	case 1:
		return s.tokens[0].lit, s.tokens[0].lit != ""
	default:
		return "", false
	}
}

// end returns where the segment ends if it fits at action[at:], else -1.
func (s *segment) end(action string, at int) int {
	for i := range s.tokens {
		t := &s.tokens[i]
		if t.lit != "" {
			if !strings.HasPrefix(action[at:], t.lit) {
				return -1
			}
			at += len(t.lit)
			continue
		}
		r, size := decodeRune(action[at:])
		if size == 0 || (t.set != nil && !t.set.contains(r)) {
			return -1
		}
		at += size
	}
	return at
}

// find returns where the segment ends at the first place, from at on, where it fits, else -1.
func (s *segment) find(action string, at int) int {
	if lit, ok := s.literal(); ok {
		i := strings.Index(action[at:], lit)
		if i < 0 {
			return -1
		}
		return at + i + len(lit)
	}
	for at < len(action) {
		if end := s.end(action, at); end >= 0 {
			return end
		}
		_, size := decodeRune(action[at:])
		at += size
	}
	return -1
}

// ends reports whether the segment fits at the end of action, at or after from. It goes backwards, which cuts the action
// into the same runes as going forwards does.
func (s *segment) ends(action string, from int) bool {
	rest := action[from:]
	for i := len(s.tokens) - 1; i >= 0; i-- {
		t := &s.tokens[i]
		if t.lit != "" {
			if !strings.HasSuffix(rest, t.lit) {
				return false
			}
			rest = rest[:len(rest)-len(t.lit)]
			continue
		}
		r, size := decodeLastRune(rest)
		if size == 0 || (t.set != nil && !t.set.contains(r)) {
			return false
		}
		rest = rest[:len(rest)-size]
	}
	return true
}

func (s *set) contains(r rune) bool {
	for _, x := range s.ranges {
		if x.low <= r && r <= x.high {
			return !s.negated
		}
	}
	return s.negated
}

// decodeRune reads the first rune of s; size is 0 when s is empty.
func decodeRune(s string) (r rune, size int) {
	if s != "" && s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	if r, size = utf8.DecodeRuneInString(s); r == utf8.RuneError && size == 1 {
		r = noRune
	}
	return r, size
}

// decodeLastRune reads the last rune of s; size is 0 when s is empty.
func decodeLastRune(s string) (r rune, size int) {
	if r, size = utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
		r = noRune
	}
	return r, size
}

// parseGlob cuts a pattern, which is valid UTF-8, or returns what is wrong with it.
func parseGlob(pattern string) (g *glob, problem string) {
	g = &glob{}
	var current segment
	for at := 0; at < len(pattern); {
		switch pattern[at] {
		case '*':
			if !g.star {
				g.head, g.star = current, true
			} else if len(current.tokens) > 0 {
				g.middle = append(g.middle, current)
			}
			current = segment{}
			at++
		case '?':
			current.tokens = append(current.tokens, token{})
			at++
		case '[':
			s, end, problem := parseSet(pattern, at)
			if problem != "" {
				return nil, problem
			}
			current.tokens = append(current.tokens, token{set: s})
			at = end
		case '\\':
			_, size := utf8.DecodeRuneInString(pattern[at+1:])
			if size == 0 {
				return nil, "ends in a backslash that escapes nothing"
			}
			current.addLiteral(pattern[at+1 : at+1+size])
			at += 1 + size
		default:
			end := at + 1
			for end < len(pattern) && strings.IndexByte(`*?[\`, pattern[end]) < 0 {
				end++
			}
			current.addLiteral(pattern[at:end])
			at = end
		}
	}
	if g.star {
		g.tail = current
	} else {
		g.head = current
	}
	return g, ""
}

func (s *segment) addLiteral(lit string) {
	if last := len(s.tokens) - 1; last >= 0 && s.tokens[last].lit != "" {
		s.tokens[last].lit += lit
		return
	}
	s.tokens = append(s.tokens, token{lit: lit})
}

// parseSet reads the set that begins at pattern[start] and returns where it ends.
func parseSet(pattern string, start int) (s *set, end int, problem string) {
	s = &set{}
	at := start + 1
	if strings.HasPrefix(pattern[at:], "!") {
		s.negated = true
		at++
	}
	// Other globs disagree about these two; a rule that may mean its opposite is refused.
	if strings.HasPrefix(pattern[at:], "^") && !s.negated {
		return nil, 0, fmt.Sprintf(`has a set at byte %d that begins with ^: write [! to negate it, or \^`, start)
	}
	if strings.HasPrefix(pattern[at:], "]") {
		return nil, 0, fmt.Sprintf(`has an empty set at byte %d: write \] for a bracket in a set`, start)
	}
	for {
		if strings.HasPrefix(pattern[at:], "]") {
			return s, at + 1, ""
		}
		low, size := setRune(pattern[at:])
		at += size
		high := low
		if rest := pattern[at:]; size > 0 && len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			high, size = setRune(rest[1:])
			at += 1 + size
		}
		if size == 0 {
			return nil, 0, fmt.Sprintf("has a set at byte %d that is not closed", start)
		}
		if high < low {
			return nil, 0, fmt.Sprintf("has a set at byte %d with a range that runs backwards", start)
		}
		s.ranges = append(s.ranges, runeRange{low, high})
	}
}

// setRune reads one possibly escaped rune; size is 0 when there is none.
func setRune(text string) (r rune, size int) {
	escape := 0
	if strings.HasPrefix(text, `\`) {
		escape = 1
	}
	r, size = utf8.DecodeRuneInString(text[escape:])
	if size == 0 {
		return 0, 0
	}
	return r, escape + size
}

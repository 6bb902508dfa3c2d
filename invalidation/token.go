package invalidation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/layercache/layercache/l2"
)

// ErrBadToken is returned, before any I/O, for a token that is malformed, of another namespace, or impossible.
var ErrBadToken = errors.New("layercache: bad token")

// Token is a point in the life of a namespace: a read with it is answered with nothing older. It is short and printable,
// holds no key or value, and may be passed between processes. Its content is not part of the API.
//
// Of an authority with versions it names the version; of one without, the position of each partition in Redis.
type Token string

// Tokens makes and reads the tokens of one namespace. Reading the token of a version allocates nothing. Safe for concurrent
// use.
type Tokens struct {
	asOf       string // what a version's token begins with
	position   string // what a position's token begins with
	partitions int
}

// NewTokens answers the tokens of a namespace, tenant included, with this many partitions.
func NewTokens(namespace string, partitions int) Tokens {
	hash := strconv.FormatUint(xxhash.Sum64String(namespace), 36)
	return Tokens{asOf: "lc1.a." + hash + ".", position: "lc1.p." + hash + ".", partitions: partitions}
}

// maxToken bounds a token: 1024 partitions of an epoch and a sequence each.
const maxToken = 64 << 10

// Floor is a token that was read: what an answer must not be below.
type Floor struct {
	// AsOf is the authority's version, 0 if the token names positions.
	AsOf      uint64
	positions string
}

// AsOf makes the token of an authority's version.
func (t Tokens) AsOf(asOf uint64) Token {
	return Token(t.asOf + strconv.FormatUint(asOf, 36))
}

// positions makes the token of deliveries. One that is not executed yet gets no epoch: only the authority can answer for it.
func (t Tokens) positions(parts []*delivery) Token {
	var b strings.Builder
	b.WriteString(t.position)
	for i, d := range parts {
		if i > 0 {
			b.WriteByte('_')
		}
		pos, _ := d.executed()
		b.WriteString(strconv.Itoa(d.index) + "-" + string(pos.Epoch) + "-" + strconv.FormatUint(pos.Seq, 36))
	}
	return Token(b.String())
}

// Parse reads a token. Every fault is ErrBadToken.
func (t Tokens) Parse(token Token) (Floor, error) {
	text := string(token)
	if len(text) > maxToken {
		return Floor{}, fmt.Errorf("%w: longer than 64 KiB", ErrBadToken)
	}
	if version, ok := strings.CutPrefix(text, t.asOf); ok {
		asOf, err := strconv.ParseUint(version, 36, 63)
		if err != nil || asOf == 0 {
			return Floor{}, fmt.Errorf("%w: impossible version", ErrBadToken)
		}
		return Floor{AsOf: asOf}, nil
	}
	if positions, ok := strings.CutPrefix(text, t.position); ok {
		last := -1 // partitions stand in rising order, each at most once
		for item := range strings.SplitSeq(positions, "_") {
			part, _, ok := parsePosition(item)
			if !ok || part <= last || part >= t.partitions {
				return Floor{}, fmt.Errorf("%w: impossible position", ErrBadToken)
			}
			last = part
		}
		return Floor{positions: positions}, nil
	}
	return Floor{}, fmt.Errorf("%w: malformed, or of another namespace", ErrBadToken)
}

// Position is what the token says of a partition, if anything. An empty epoch: only the authority can answer for it.
func (f Floor) Position(part int) (l2.Position, bool) {
	if f.positions == "" {
		return l2.Position{}, false
	}
	for item := range strings.SplitSeq(f.positions, "_") {
		if p, pos, ok := parsePosition(item); ok && p == part {
			return pos, true
		}
	}
	return l2.Position{}, false
}

func parsePosition(item string) (part int, pos l2.Position, ok bool) {
	head, rest, ok1 := strings.Cut(item, "-")
	epoch, tail, ok2 := strings.Cut(rest, "-")
	if !ok1 || !ok2 || len(epoch) != 0 && len(epoch) != 32 || strings.Trim(epoch, "0123456789abcdef") != "" {
		return 0, l2.Position{}, false
	}
	n, err1 := strconv.ParseUint(head, 10, 16)
	seq, err2 := strconv.ParseUint(tail, 36, 63)
	if err1 != nil || err2 != nil || epoch == "" && seq != 0 {
		return 0, l2.Position{}, false
	}
	return int(n), l2.Position{Epoch: l2.Epoch(epoch), Seq: seq}, true
}

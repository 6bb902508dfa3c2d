package invalidation_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/layercache/layercache/invalidation"
)

const someEpoch = "0123456789abcdef0123456789abcdef"

func containsWord(err error, word string) bool { return strings.Contains(err.Error(), word) }

// prefix is what the tokens of positions in "ns" begin with.
func prefix() string {
	asOf := string(invalidation.NewTokens("ns", 4).AsOf(1))
	return strings.Replace(strings.TrimSuffix(asOf, "1"), "lc1.a.", "lc1.p.", 1)
}

func TestVersionTokenComesBackAsItWas(t *testing.T) {
	tokens := invalidation.NewTokens("ns", 4)
	for _, asOf := range []uint64{1, 35, 36, 1 << 53, math.MaxInt64} {
		floor, err := tokens.Parse(tokens.AsOf(asOf))
		if err != nil || floor.AsOf != asOf {
			t.Errorf("%d came back as %d, %v", asOf, floor.AsOf, err)
		}
		if _, named := floor.Position(0); named {
			t.Errorf("%d names a position", asOf)
		}
	}
}

func TestPositionTokenNamesItsPartitionsOnly(t *testing.T) {
	floor, err := invalidation.NewTokens("ns", 4).Parse(invalidation.Token(prefix() + "1-" + someEpoch + "-z_3--0"))
	if err != nil || floor.AsOf != 0 {
		t.Fatal(floor, err)
	}
	if pos, named := floor.Position(1); !named || pos.Epoch != someEpoch || pos.Seq != 35 {
		t.Fatalf("%+v", pos)
	}
	if pos, named := floor.Position(3); !named || pos.Epoch != "" {
		t.Fatalf("%+v", pos)
	}
	for _, part := range []int{0, 2, 4} {
		if pos, named := floor.Position(part); named {
			t.Fatalf("partition %d: %+v", part, pos)
		}
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	tokens := invalidation.NewTokens("ns", 4)
	version := strings.TrimSuffix(string(tokens.AsOf(1)), "1")
	for name, token := range map[string]string{
		"empty":                     "",
		"text":                      "hello",
		"another version":           strings.Replace(version, "lc1", "lc2", 1) + "1",
		"another namespace":         string(invalidation.NewTokens("other", 4).AsOf(1)),
		"another tenant":            string(invalidation.NewTokens("ns@t", 4).AsOf(1)),
		"version 0":                 version + "0",
		"no version":                version,
		"negative version":          version + "-1",
		"signed version":            version + "+1",
		"version beyond 63 bits":    version + "1y2p0ij32e8e8",
		"something after":           version + "1.",
		"no positions":              prefix(),
		"half a position":           prefix() + "0",
		"no seq":                    prefix() + "0-" + someEpoch,
		"short epoch":               prefix() + "0-0123-1",
		"epoch in capitals":         prefix() + "0-" + strings.ToUpper(someEpoch) + "-1",
		"seq that is no number":     prefix() + "0-" + someEpoch + "-!",
		"seq without an epoch":      prefix() + "0--5",
		"partition beyond ours":     prefix() + "4-" + someEpoch + "-1",
		"negative partition":        prefix() + "-1-" + someEpoch + "-1",
		"signed partition":          prefix() + "+1-" + someEpoch + "-1",
		"partition twice":           prefix() + "1-" + someEpoch + "-1_1-" + someEpoch + "-2",
		"partitions out of order":   prefix() + "2-" + someEpoch + "-1_1-" + someEpoch + "-2",
		"nothing between":           prefix() + "0-" + someEpoch + "-1__1-" + someEpoch + "-2",
		"longer than any can be":    prefix() + strings.Repeat("0", 64<<10),
		"space before":              " " + version + "1",
		"version in another script": version + "١",
	} {
		if floor, err := tokens.Parse(invalidation.Token(token)); !errors.Is(err, invalidation.ErrBadToken) {
			t.Errorf("%s: %+v, %v", name, floor, err)
		}
	}
}

func TestReadingAVersionTokenAllocatesNothing(t *testing.T) {
	tokens := invalidation.NewTokens("ns", 4)
	token := tokens.AsOf(1 << 40)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := tokens.Parse(token); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(invalidation.NewTokens("ns", 4).AsOf(123)))
	f.Add(prefix() + "0-" + someEpoch + "-1_2--0")
	f.Add("lc1.a.")
	f.Fuzz(func(t *testing.T, text string) {
		tokens := invalidation.NewTokens("ns", 4)
		floor, err := tokens.Parse(invalidation.Token(text))
		if err != nil {
			if !errors.Is(err, invalidation.ErrBadToken) || floor != (invalidation.Floor{}) {
				t.Fatalf("%+v, %v", floor, err)
			}
			return
		}
		if floor.AsOf > 0 {
			if again, err := tokens.Parse(tokens.AsOf(floor.AsOf)); err != nil || again != floor {
				t.Fatalf("%d came back as %+v, %v", floor.AsOf, again, err)
			}
			return
		}
		named := 0
		for part := range 4 {
			if pos, ok := floor.Position(part); ok {
				named++
				if len(pos.Epoch) != 0 && len(pos.Epoch) != 32 || pos.Seq > math.MaxInt64 {
					t.Fatalf("%+v", pos)
				}
			}
		}
		if named == 0 {
			t.Fatalf("%q names nothing", text)
		}
	})
}

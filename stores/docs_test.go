package stores_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores"
)

func TestTheDocumentationListsExactlyTheKeysThereAre(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{"failure": "`deny`, `allow` or `local_share`"}
	known := map[string]stores.Key{}
	for _, k := range stores.Keys() {
		if k.Kind != "setting" { // of the tests' own driver
			known[k.Path] = k
		}
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| ([^|]+) \\| [^|]* \\| `([A-Z0-9_]+)` \\| [^|]+ \\|$")
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		path, kind, variable := r[1], r[2], r[3]
		k, ok := known[path]
		want := k.Kind
		if types[want] != "" {
			want = types[want]
		}
		switch {
		case !ok:
			t.Errorf("%s is documented twice, or is no key", path)
		case kind != want || variable != k.Variable:
			t.Errorf("%s is documented as %s, %s, and is %s, %s", path, kind, variable, want, k.Variable)
		}
		delete(known, path)
	}
	for path := range known {
		t.Errorf("%s is not documented", path)
	}
}

// The file of the documentation is read as it stands there.
func TestTheFileOfTheDocumentationIsOne(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is none")
	}
	if cfg := load(t, string(block[1])); cfg.PolicyStore != "sql" || len(leaves(cfg)) != 4 {
		t.Errorf("%q", leaves(cfg))
	}
}

// A test that the documentation rests a promise on is there, and so is a case of a suite.
func TestEveryTestThatTheDocumentationNamesIsThere(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	there, suites := map[string]bool{}, ""
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		suite := filepath.Dir(path) == filepath.Join("..", "stores", "storetest")
		if !suite && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		if suite {
			suites += string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range []string{"stores.md", "coherence.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)`").FindAllSubmatch(text, -1) {
			named++
			if !there[string(m[1])] {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "docs", "stores.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## What must not be repeated\n"))
	for _, row := range regexp.MustCompile(`(?m)^\| .* \| (.*) \|$`).FindAllSubmatch(text, -1) {
		for _, name := range regexp.MustCompile(`"([^"]+)"`).FindAllSubmatch(row[1], -1) {
			named++
			if !strings.Contains(suites, `"`+string(name[1])+`"`) {
				t.Errorf("stores.md names the case %q, which is in no suite", name[1])
			}
		}
	}
	if named < 80 {
		t.Errorf("found only %d names: is this how they are written?", named)
	}
}

package sqlsource_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
)

func TestLookupOfAnUnlinkedDriverNamesItsImport(t *testing.T) {
	for scheme, url := range map[string]string{
		"sqlite": "sqlite:x.db", "file": "file:x.db", "postgres": "postgres://u:hunter2@h/d", "postgresql": "PostgreSQL://u:hunter2@h/d",
	} {
		restore := sqlsource.Unlink(scheme)
		_, err := sqlsource.Lookup(url)
		restore()
		dir := map[bool]string{true: "postgres", false: "sqlite"}[strings.HasPrefix(scheme, "postgres")]
		if err == nil || !strings.Contains(err.Error(), `import _ "github.com/layercache/layercache/stores/driver/`+dir+`"`) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestLookupOfAnUnknownSchemeListsTheKnown(t *testing.T) {
	for _, url := range []string{"mysql://root:hunter2@h/d", "", "hunter2", "root:hunter2@tcp(h)/d", "://hunter2", "hunter2:", "1hunter2://x", "h√nter2://hunter2"} {
		_, err := sqlsource.Lookup(url)
		if err == nil || !strings.Contains(err.Error(), "file, postgres, postgresql, sqlite") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestRegisterDriverPanicsOnATakenScheme(t *testing.T) {
	open := func(context.Context, string) (*sql.DB, error) { return nil, nil }
	for name, register := range map[string]func(){
		"taken":      func() { sqlsource.RegisterDriver([]string{"sqlite"}, sqlsource.Driver{Open: open}) },
		"no Open":    func() { sqlsource.RegisterDriver([]string{"none"}, sqlsource.Driver{}) },
		"no schemes": func() { sqlsource.RegisterDriver(nil, sqlsource.Driver{Open: open}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			register()
		}()
	}
}

func TestNewRefusesWhatIsMissingByName(t *testing.T) {
	db := newSQLite(t)
	for field, cfg := range map[string]sqlsource.Config{
		"Config.DB":      {Dialect: sqlsource.SQLite},
		"Config.Dialect": {DB: db.db},
	} {
		if _, err := sqlsource.New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("New = %v, want an error that names %s", err, field)
		}
	}
	if _, err := db.source.Table("nothing", ""); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("Table of an unknown name: %v", err)
	}
}

func FuzzLookupNeverRepeatsThePassword(f *testing.F) {
	f.Add("postgres://u:", "@h/d")
	f.Add("root:", "@tcp(h)/d")
	f.Add("x", "://")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Zq9vSECRETxK7w"
		if before == "" || strings.HasPrefix(after, ":") { // the secret stands where a scheme does
			t.Skip()
		}
		if !strings.ContainsAny(before, ":@/ ") {
			t.Skip()
		}
		if _, err := sqlsource.Lookup(before + secret + after); err != nil && strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(secret)) {
			t.Fatalf("%q: %v", before+secret+after, err)
		}
	})
}

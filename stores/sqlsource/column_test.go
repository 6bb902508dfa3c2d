package sqlsource_test

import (
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
)

// things joins a table of columns, which is none of this library's, to the log, by the rules at the head of 0001_log.sql.
func (d *database) things(t testing.TB) {
	t.Helper()
	if d.dialect == sqlsource.SQLite {
		d.exec(t, `CREATE TABLE things (tenant TEXT NOT NULL DEFAULT '', id TEXT NOT NULL, colour TEXT, size INTEGER, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
			INSERT INTO layercache_versions (tbl) VALUES ('things');
			CREATE TRIGGER things_insert AFTER INSERT ON things BEGIN
				INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('things', NEW.tenant, NEW.id); END;
			CREATE TRIGGER things_delete AFTER DELETE ON things BEGIN
				INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('things', OLD.tenant, OLD.id); END`)
		return
	}
	d.exec(t, `CREATE TABLE things (tenant text NOT NULL DEFAULT '', id text NOT NULL, colour text, size bigint, PRIMARY KEY (tenant, id));
		INSERT INTO layercache_versions (tbl) VALUES ('things');
		CREATE FUNCTION things_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
		BEGIN
			IF TG_OP = 'INSERT' THEN PERFORM layercache_log('things', tenant, array_agg(id)) FROM new_rows GROUP BY tenant;
			ELSE PERFORM layercache_log('things', tenant, array_agg(id)) FROM old_rows GROUP BY tenant;
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER layercache_next BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON things FOR EACH STATEMENT EXECUTE FUNCTION layercache_next('things');
		CREATE TRIGGER layercache_log_insert AFTER INSERT ON things REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION things_log();
		CREATE TRIGGER layercache_log_delete AFTER DELETE ON things REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION things_log()`)
}

func TestTableOfColumnsHasALogAndARelayOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.things(t)
		log, err := d.source.Log("things", "a")
		if err != nil {
			t.Fatal(err)
		}
		policies := d.as(t, "a")
		stored := policies.put(t, "x", "")
		d.exec(t, "INSERT INTO things (tenant, id, colour, size) VALUES ('a', 'x', 'red', 1), ('b', 'y', 'blue', 2)")
		page, err := log.Changes(t.Context(), 0, 0)
		if err != nil || len(page.Changes) != 1 || page.Changes[0].ID != "x" || page.Changes[0].AsOf > page.Head {
			t.Fatalf("Changes = %+v, %v; want x", page, err)
		}
		head, err := log.Head(t.Context())
		if err != nil || head != page.Head || policies.head(t) != stored {
			t.Fatalf("Head = %d, %v, want %d; that of policies is %d, want %d", head, err, page.Head, policies.head(t), stored)
		}
		b, other := &bus{epoch: "e1"}, &bus{epoch: "e1"}
		policies.relay(t, other, nil)
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Log = log })
		eventually(t, 10*time.Second, "the thing is delivered, and the policy", func() bool { return b.of("x") == 1 && other.of("x") == 1 })
		d.exec(t, "DELETE FROM things")
		eventually(t, 10*time.Second, "its deletion is delivered", func() bool { return b.of("x") == 2 })
		if b.of("y") != 0 || other.of("x") != 1 || other.of("y") != 0 {
			t.Fatal("a relay delivered what is another's")
		}
	})
}

func TestLogOfATableThatIsNotThereSaysSo(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		log, err := d.source.Log("nothing", "")
		if err != nil {
			t.Fatal(err)
		}
		_, headErr := log.Head(t.Context())
		_, logErr := log.Changes(t.Context(), 0, 0)
		for _, err := range []error{headErr, logErr} {
			if !errors.Is(err, sqlsource.ErrNotMigrated) {
				t.Errorf("%v, want ErrNotMigrated", err)
			}
		}
		for _, name := range []sqlsource.TableName{"", "x'y", "X", "a b", "a.b"} {
			if _, err := d.source.Log(name, ""); err == nil {
				t.Errorf("Log(%q) is accepted", name)
			}
		}
	})
}

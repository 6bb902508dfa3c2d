package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// proves runs the program to its end and fails the test unless it proved what it says.
func proves(t *testing.T, redisURL, databaseURL string) {
	t.Helper()
	q := runProgram(t, redisURL, databaseURL, "-duration", "1s", "-revocations", "20")
	code, stdout, said := q.wait()
	t.Log(stdout, said)
	if code != exitDone || said != "" {
		t.Errorf("exit code %d, stderr %q", code, said)
	}
	for _, line := range []string{
		// The median is less than a lease: processes acknowledge, nobody has to be sat out.
		`(?m)^revocations +20, .* in all 3 processes: min \S+ \S+, median \S+ ms, max `,
		`(?m)^old answers +[1-9][0-9,]* before Put returned, [0-9,]+ of them`,
		`(?m)^stale +0 of [1-9][0-9,]* checks`,
		`(?m)^ +3 +[1-9][0-9,]* +9[0-9.]+% +\S+ [nµ]s`,
		`(?m)^proved: `,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line like %s", line)
		}
	}
	q.noFilesLeft()
}

func TestNoStaleDecisionWithNothingInstalled(t *testing.T) { proves(t, "", "") }

func TestNoStaleDecisionOverRedisAndPostgresAndNothingStaysThere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector; the embedded run goes through the same code")
	}
	server, database := redistest.Start(t), pgtest.NewDatabase(t)
	server.Do("SET", "lc:{policy.0}:e", "somebody else's")
	tables := "SELECT count(*) FROM pg_class WHERE relname LIKE 'layercache%'; SELECT count(*) FROM pg_namespace"
	before := pgtest.Exec(t, database, tables)
	proves(t, server.URL(), database)
	if n := server.Do("DBSIZE"); n != int64(1) {
		t.Errorf("%v keys are left in Redis, want the 1 from before", n)
	}
	if after := pgtest.Exec(t, database, tables); after != before {
		t.Errorf("tables and schemas before: %s, after: %s", before, after)
	}
}

func TestGivenSQLiteFileKeepsItsOwnPoliciesOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector; the embedded run goes through the same code")
	}
	url := "sqlite:" + filepath.ToSlash(filepath.Join(t.TempDir(), "given.db"))
	driver, err := sqlsource.Lookup(url)
	if err != nil {
		t.Fatal(err)
	}
	db, err := driver.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: driver.Dialect})
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var own policy.AgentID
	if _, err := db.ExecContext(t.Context(), "INSERT INTO layercache_policies (agent_id, document) VALUES (?, ?)", own.String(), "{}"); err != nil {
		t.Fatal(err)
	}
	proves(t, "", url)
	var ids string
	if err := db.QueryRowContext(t.Context(), "SELECT group_concat(agent_id) FROM layercache_policies").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	if ids != own.String() {
		t.Errorf("policies left: %.200s", ids)
	}
}

func TestWrongInputIsRefusedByNameAndLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		redis, database string
		args            []string
		code            int
		says            string
	}{
		"flag":        {args: []string{"-children", "0"}, code: exitUsage, says: "-children must be"},
		"argument":    {args: []string{"now"}, code: exitUsage, says: "flags only"},
		"revocations": {args: []string{"-revocations", "1000000"}, code: exitFailed, says: "-revocations must be at most"},
		"database":    {database: "mysql://root:secret@db/x", code: exitFailed, says: "no driver for mysql"},
		"no URL":      {database: "host=db password=secret", code: exitFailed, says: "no scheme"},
		"no scheme":   {database: "secret:5432", code: exitFailed, says: "no scheme"},
		"redis":       {redis: "http://user:secret@h", code: exitFailed, says: "REDIS_URL"},
		"no redis":    {redis: "redis://:secret@127.0.0.1:1", code: exitFailed, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			q := runProgram(t, c.redis, c.database, c.args...)
			code, stdout, said := q.wait()
			if code != c.code || !strings.Contains(said, c.says) || strings.Contains(stdout+said, "secret") {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, said)
			}
			q.noFilesLeft()
		})
	}
}

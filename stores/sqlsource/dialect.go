package sqlsource

import "strings"

// Dialect names the database whose SQL a Source speaks.
type Dialect uint8

// The dialects. The zero Dialect is none of them, and New refuses it.
const (
	SQLite   Dialect = iota + 1 // SQLite 3.38 or later; programs that write beside us may be as old as 3.24
	Postgres                    // PostgreSQL 13 or later
)

// String is the dialect's name in lower case.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "sqlite"
	case Postgres:
		return "postgres"
	default:
		return "unknown"
	}
}

// render turns a statement written once into the dialect's own words. Statements are written with $1, $2 …; {now} is
// the database clock in milliseconds, {ids:$n} and {numbers:$n} the rows of a JSON array, {id in hex:$n} whether id is in one
// of hexadecimal digits, {lock} a row lock that passes over rows another transaction holds, {wait} one that waits for them.
func (d Dialect) render(query string) string {
	if d == SQLite {
		return sqliteWords.Replace(query)
	}
	return postgresWords.Replace(query)
}

var (
	sqliteWords = strings.NewReplacer(
		"{now}", "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
		"{ids:$2}", "(SELECT value FROM json_each(?2))",
		"{id in hex:$4}", "hex(id) IN (SELECT value FROM json_each(?4))",
		"{numbers:$3}", "(SELECT value FROM json_each(?3))",
		"{lock}", "", "{wait}", "",
		"$", "?",
	)
	postgresWords = strings.NewReplacer(
		"{now}", "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
		"{ids:$2}", "(SELECT jsonb_array_elements_text($2::text::jsonb))",
		"{id in hex:$4}", "upper(encode(convert_to(id, 'UTF8'), 'hex')) IN (SELECT jsonb_array_elements_text($4::text::jsonb))",
		"{numbers:$3}", "(SELECT jsonb_array_elements_text($3::text::jsonb)::bigint)",
		"{lock}", "FOR UPDATE SKIP LOCKED", "{wait}", "FOR UPDATE",
	)
)

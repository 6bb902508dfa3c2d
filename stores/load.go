package stores

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// DefaultRedisURL is the Redis of a file that has the table [storage.redis] and names none in it.
const DefaultRedisURL = "redis://127.0.0.1:6379"

// LoadConfig reads a Config from a TOML file; docs/configuration.md lists the keys. The environment overrides each key:
// LAYERCACHE_ and its path in capitals, with '_' for '.', as in LAYERCACHE_STORAGE_REDIS_URL. An empty variable counts as
// none. Without a path there is no file, and the environment alone is read. What is wrong with either is an error, which
// names the key and the line or the variable and shows no value: a key that is unknown, a value of another kind, and a
// variable with the prefix that is no key's.
//
// LoadConfig looks at one thing at a time; whether it all fits together, Open says.
func LoadConfig(path string) (Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return Config{}, fmt.Errorf("stores: load config: %w", err)
		}
	}
	l := loading{keys: map[string]key{}, tables: map[string]bool{}, present: map[string]bool{}}
	for _, k := range keys() {
		l.keys[k.path] = k
		for table := k.path; strings.Contains(table, "."); {
			table = table[:strings.LastIndexByte(table, '.')]
			l.tables[table] = true
		}
	}
	for name := range known(nil) {
		l.tables["storage."+name] = true // some drivers have no keys
	}
	if err := l.file(data); err != nil {
		return Config{}, fmt.Errorf("stores: load config: %s: %w", path, err)
	}
	if err := l.environment(os.Environ()); err != nil {
		return Config{}, fmt.Errorf("stores: load config: %w", err)
	}
	if l.present["storage.redis"] {
		l.cfg.Redis.local()
	}
	l.cfg.SQL.table = l.present["storage.sql"]
	return l.cfg, nil
}

// local makes a Redis that has no address DefaultRedisURL: as an address where a setting excludes a URL. A Cluster and
// Sentinels are nowhere by default.
func (c *RedisConfig) local() {
	switch {
	case c.given() || c.Cluster || c.MasterName != "":
	case c.Username != "" || !c.Password.IsZero() || c.DB != 0:
		c.Addrs = []string{strings.TrimPrefix(DefaultRedisURL, "redis://")}
	default:
		c.URL = NewSecret(DefaultRedisURL)
	}
}

// loading is a Config on its way.
type loading struct {
	keys    map[string]key  // by path
	tables  map[string]bool // that may be in a file
	present map[string]bool // tables that something is said of
	data    []byte
	cfg     Config
}

// file reads a file. The decoder's own errors quote the file and are not shown.
func (l *loading) file(data []byte) error {
	l.data = data
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := at.Position()
			return fmt.Errorf("line %d, column %d is not TOML, or says something twice", line, column)
		}
		return errors.New("it is not TOML")
	}
	return l.table("", tree)
}

// table reads a table of the file: in the order of the names, so that of several faults the same is told each time.
func (l *loading) table(path string, tree map[string]any) error {
	l.present[path] = true
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		full := strings.TrimPrefix(path+"."+name, ".")
		k, isKey := l.keys[full]
		inner, isTable := tree[name].(map[string]any)
		var err error
		switch {
		case strings.ContainsRune(name, '.') || !isKey && !l.tables[full]: // a dot within quotes separates nothing
			err = fmt.Errorf("unknown key %s; known%s: %s", shown(full), in(path), l.list(path))
		case isKey:
			err = k.assign(&l.cfg, tree[name])
		case !isTable:
			err = fmt.Errorf("%s must be a table", full)
		default:
			if err := l.table(full, inner); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", l.line(full), err)
		}
	}
	return nil
}

func in(table string) string {
	if table == "" {
		return ""
	}
	return " in [" + table + "]"
}

// list names what may stand in a table.
func (l *loading) list(table string) string {
	var list []string
	add := func(path string) {
		if table != "" {
			var inside bool
			if path, inside = strings.CutPrefix(path, table+"."); !inside {
				return
			}
		}
		name, _, _ := strings.Cut(path, ".")
		list = append(list, name)
	}
	for path := range l.keys {
		add(path)
	}
	for path := range l.tables {
		add(path)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

// line finds where the file first says something of a path.
func (l *loading) line(path string) int {
	var p unstable.Parser
	p.Reset(l.data)
	start := trail{left: path + "."}
	table := start
	for p.NextExpression() {
		e := p.Expression()
		said, begin := start, -1
		if e.Kind == unstable.KeyValue {
			said = table
		}
		for it := e.Key(); it.Next(); {
			if begin < 0 {
				begin = int(it.Node().Raw.Offset)
			}
			said = said.to(it.Node().Data)
		}
		if e.Kind != unstable.KeyValue {
			table = said
		}
		// What is within an inline table is where the table is.
		inline := e.Kind == unstable.KeyValue
		if !said.astray && (inline || said.left == "") {
			return 1 + bytes.Count(l.data[:begin], []byte("\n"))
		}
	}
	return 1
}

// trail is how far a key has come along a path. It is followed name by name: a key can be as long as the file.
type trail struct {
	left   string // of the path, each name with a dot behind it
	astray bool
}

func (t trail) to(name []byte) trail {
	if t.left == "" { // it says more than the path
		return t
	}
	rest, along := strings.CutPrefix(t.left, string(name)+".")
	return trail{left: rest, astray: t.astray || !along}
}

// others are variables with the prefix that are this project's own, and no keys: settings of its tests.
var others = []string{"LAYERCACHE_REQUIRE_REAL", "LAYERCACHE_LONG", "LAYERCACHE_FAULTS", "LAYERCACHE_SEED", "LAYERCACHE_CI_WORK"}

// environment overrides keys. Of several faults it tells the first by name.
func (l *loading) environment(environ []string) error {
	variables := make(map[string]key, len(l.keys))
	for _, k := range l.keys {
		variables[k.variable()] = k
	}
	slices.Sort(environ)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, environmentPrefix) || slices.Contains(others, name) {
			continue
		}
		if value == "" {
			continue
		}
		k, ok := variables[name]
		if !ok {
			return fmt.Errorf("unknown variable %s; docs/configuration.md lists the known ones", shown(name))
		}
		if err := k.override(&l.cfg, value); err != nil {
			return err
		}
		for table := k.path; strings.Contains(table, "."); {
			table = table[:strings.LastIndexByte(table, '.')]
			l.present[table] = true
		}
	}
	return nil
}

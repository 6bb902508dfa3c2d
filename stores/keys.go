package stores

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// key is one key of a configuration file, and of the environment. Those of this library are read off the tags of Config,
// those of other drivers off what they registered.
type key struct {
	path string // in the file, as in storage.redis.url
	kind string // string, secret, bool, integer, duration, list
	set  func(cfg *Config, value any)
}

// environmentPrefix begins every variable that overrides a key.
const environmentPrefix = "LAYERCACHE_"

// variable is the key's name in the environment.
func (k key) variable() string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// keys are all of them, in the order of the fields.
func keys() []key {
	all := keysOf(reflect.TypeFor[Config](), "", nil)
	drivers := known(nil)
	for _, name := range strings.Split(names(drivers, nil), ", ") {
		for _, setting := range drivers[name].Keys {
			all = append(all, settingKey(name, setting))
		}
	}
	return all
}

// settingKey is the key of a setting of a third party's driver.
func settingKey(name, setting string) key {
	return key{path: "storage." + name + "." + setting, kind: "setting", set: func(cfg *Config, value any) {
		if cfg.Drivers == nil {
			cfg.Drivers = map[string]Settings{}
		}
		if cfg.Drivers[name] == nil {
			cfg.Drivers[name] = Settings{}
		}
		cfg.Drivers[name][setting] = NewSecret(value.(string))
	}}
}

// keysOf reads the keys off the tags of a struct's fields.
func keysOf(t reflect.Type, prefix string, index []int) []key {
	var all []key
	for f := range t.Fields() {
		tag := f.Tag.Get("key")
		if tag == "" {
			continue
		}
		path, at := prefix+tag, append(slices.Clone(index), f.Index...)
		kind, ok := kindsOfKeys[f.Type]
		if !ok {
			all = append(all, keysOf(f.Type, path+".", at)...)
			continue
		}
		all = append(all, key{path: path, kind: kind, set: func(cfg *Config, value any) {
			field := reflect.ValueOf(cfg).Elem().FieldByIndex(at)
			field.Set(reflect.ValueOf(value).Convert(field.Type()))
		}})
	}
	return all
}

// kindsOfKeys are the kinds by the type of the field.
var kindsOfKeys = map[reflect.Type]string{
	reflect.TypeFor[string]():        "string",
	reflect.TypeFor[Secret]():        "secret",
	reflect.TypeFor[bool]():          "bool",
	reflect.TypeFor[int]():           "integer",
	reflect.TypeFor[int64]():         "integer",
	reflect.TypeFor[time.Duration](): "duration",
	reflect.TypeFor[[]string]():      "list",

	reflect.TypeFor[ratelimit.Failure](): "failure",
}

// failures are the values of a kind.
var failures = map[string]ratelimit.Failure{
	"deny": ratelimit.Deny, "allow": ratelimit.AllowAny, "local_share": ratelimit.LocalShare,
}

// rules say what a value of a kind must be. Errors do not show what it is: it may be a password in the wrong place.
var rules = map[string]string{
	"string":   "a string",
	"secret":   "a string",
	"bool":     "true or false",
	"integer":  "an integer",
	"duration": `a duration in a string, such as "1s" or "250ms"`,
	"list":     "a list of strings",
	"failure":  `"deny", "allow" or "local_share"`,
	"setting":  "a string, an integer or a boolean",
}

// variableRules say it of variables, where that is another thing.
var variableRules = map[string]string{
	"duration": "a duration without quotes, such as 1s or 250ms",
	"failure":  "deny, allow or local_share",
}

// assign puts a value of the file into the Config.
func (k key) assign(cfg *Config, value any) error {
	if v, ok := k.convert(value); ok {
		k.set(cfg, v)
		return nil
	}
	return fmt.Errorf("%s must be %s", k.path, rules[k.kind])
}

// convert makes a value of the file one of the field.
func (k key) convert(value any) (any, bool) {
	text, isText := value.(string)
	switch k.kind {
	case "string":
		return text, isText
	case "secret":
		return NewSecret(text), isText
	case "bool":
		b, ok := value.(bool)
		return b, ok
	case "integer":
		n, ok := value.(int64)
		return n, ok && (strconv.IntSize == 64 || n == int64(int(n)))
	case "duration":
		d, err := time.ParseDuration(text)
		return d, isText && err == nil
	case "failure":
		f, ok := failures[text]
		return f, isText && ok
	case "list":
		items, ok := value.([]any)
		list := make([]string, len(items))
		for i, item := range items {
			s, isString := item.(string)
			list[i], ok = s, ok && isString
		}
		return list, ok
	default:
		switch value.(type) {
		case string, int64, bool:
			return fmt.Sprint(value), true
		}
		return nil, false
	}
}

// override puts a value of the environment into the Config.
func (k key) override(cfg *Config, text string) error {
	var value any = text
	switch k.kind {
	case "bool":
		if text == "true" || text == "false" {
			value = text == "true"
		}
	case "integer":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			value = n
		}
	case "list":
		var items []any
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		value = items
	}
	if err := k.assign(cfg, value); err != nil {
		rule, own := variableRules[k.kind]
		if !own {
			rule = rules[k.kind]
		}
		return fmt.Errorf("the variable %s must be %s", k.variable(), rule)
	}
	return nil
}

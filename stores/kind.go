package stores

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// kind is a kind of records, which one driver keeps.
type kind struct {
	key    string               // in [storage]
	field  string               // of Config, for the driver
	config string               // of Config, for the store's own settings
	named  func(*Config) string // the driver that the Config names
	offers func(Driver) bool
	part   func(*Opening, chosen) part
}

// kinds are all of them.
var kinds = []*kind{&policies, &agents, &sessions, &rateLimits, &threads, &runs}

// part is the store of a kind on its way, step by step.
type part struct {
	check   func() error                    // of the Config, without I/O
	connect func(ctx context.Context) error // makes what keeps the records
	store   func(*Backend) opened           // to be made when it is first asked for
}

// chosen is the driver of a kind.
type chosen struct {
	Driver
	kind      *kind
	name      string
	byDefault bool
}

// failed names the kind and its driver in an error.
func (c chosen) failed(err error) error {
	by := ""
	if c.byDefault {
		by = " by default"
	}
	return fmt.Errorf("stores: Config.%s is %s%s: %w", c.kind.field, c.name, by, err)
}

// choose finds the driver of a kind: the named one, or the first by default that is configured and offers the kind.
func (k *kind) choose(cfg *Config, drivers map[string]Driver, redis, sql bool) (chosen, error) {
	c := chosen{kind: k, name: k.named(cfg)}
	if c.name == "" {
		c.byDefault = true
		switch {
		case sql && k.offers(drivers["sql"]):
			c.name = "sql"
		case redis && k.offers(drivers["redis"]):
			c.name = "redis"
		default:
			c.name = "memory"
		}
	}
	var known bool
	if c.Driver, known = drivers[c.name]; !known {
		return c, fmt.Errorf("stores: Config.%s: unknown driver %s; known: %s", k.field, shown(c.name), names(drivers, nil))
	}
	switch {
	case !k.offers(c.Driver):
		others := names(drivers, k.offers)
		return c, fmt.Errorf("stores: Config.%s: the driver %s does not offer it; those that do: %s", k.field, shown(c.name), others)
	case c.name == "sql" && !sql:
		return c, c.failed(errors.New(noSQL))
	case c.name == "redis" && !redis:
		return c, c.failed(errors.New(noRedis))
	case len(c.Keys) > 0 && len(cfg.Drivers[c.name]) == 0:
		return c, c.failed(fmt.Errorf("its settings are missing: configure Config.Drivers[%q], [storage.%s] in a file", c.name, c.name))
	}
	return c, nil
}

// What is missing where a driver is named that needs it.
const (
	noSQL   = "neither Config.SQL.URL, " + sqlTable + ", nor WithSQL names a database"
	noRedis = "neither Config.Redis, " + redisTable + ", nor WithRedis names a Redis"
)

// names lists drivers, those that offer something if that is asked.
func names(drivers map[string]Driver, offers func(Driver) bool) string {
	var list []string
	for name, d := range drivers {
		if offers == nil || offers(d) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

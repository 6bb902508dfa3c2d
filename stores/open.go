package stores

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Open opens the stores of cfg. It looks after the database's schema, for which the database must answer within ctx, and
// does no I/O on Redis. A Config with a fault is refused, with the field named, before the database is touched.
//
// The policy store, and each store whose driver Config names, is made here. The others are made when they are first asked
// for, so that what nobody uses costs nothing, and cannot fail then.
func Open(ctx context.Context, cfg Config, opts ...Option) (*Backend, error) {
	l := live{drivers: map[string]Driver{}}
	for _, o := range opts {
		if o == nil {
			l.hollow = append(l.hollow, "an Option")
			continue
		}
		o(&l)
	}
	if len(l.hollow) > 0 {
		return nil, errors.New("stores: " + strings.Join(l.hollow, ", ") + ": was given nil")
	}
	tel, err := l.reporter()
	if err != nil {
		return nil, fmt.Errorf("stores: %w", err)
	}
	b := &Backend{}
	o := &Opening{backend: b, cfg: &cfg, live: &l, telemetry: tel}
	if err := b.open(ctx, o); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return b, nil
}

// open makes the stores: what needs no I/O first, so that a fault of the Config shows before the database is touched.
func (b *Backend) open(ctx context.Context, o *Opening) error {
	cfg := o.cfg
	if err := cfg.Redis.validate(); err != nil {
		return err
	}
	if err := cfg.SQL.validate(o.live.db != nil); err != nil {
		return err
	}
	drivers, err := o.drivers()
	if err != nil {
		return err
	}
	if err := o.connect(); err != nil {
		return err
	}
	if cfg.Sole && (o.client != nil || !o.hasSQL()) {
		return errors.New("stores: Config.Sole is for a database without Redis")
	}
	choice := make([]chosen, len(kinds))
	for i, k := range kinds {
		if choice[i], err = k.choose(cfg, drivers, o.client != nil, o.hasSQL()); err != nil {
			return err
		}
	}
	if err := o.unused(choice, drivers); err != nil {
		return err
	}
	parts := make([]part, len(kinds))
	for i, c := range choice {
		parts[i] = c.kind.part(o, c)
		if err := parts[i].check(); err != nil {
			return fmt.Errorf("stores: Config.%s: %w", c.kind.config, err)
		}
	}
	for i, c := range slices.Backward(choice) { // those that may be in the database last
		o.chosen = c
		if err := parts[i].connect(ctx); err != nil {
			return c.failed(err)
		}
	}
	if o.hasSQL() && o.source == nil { // what a third party's driver uses is known by now, and nothing was asked of the database
		return errors.New("stores: no store uses the SQL database that is configured (Config.SQL, " + sqlTable + ", or WithSQL)")
	}
	for i, c := range choice {
		store := parts[i].store(b)
		b.all = append(b.all, store)
		if c.kind == &policies || !c.byDefault {
			if err := store.open(); err != nil {
				return fmt.Errorf("stores: Config.%s: %w", c.kind.config, err)
			}
		}
	}
	return nil
}

// drivers are those that can be named.
func (o *Opening) drivers() (map[string]Driver, error) {
	for name, d := range o.live.drivers {
		if err := checkDriver(name, d); err != nil {
			return nil, fmt.Errorf("stores: WithDriver: %w", err)
		}
	}
	drivers := known(o.live.drivers)
	for name, settings := range o.cfg.Drivers {
		d, ok := drivers[name]
		if !ok {
			return nil, fmt.Errorf("stores: Config.Drivers: unknown driver %s; known: %s", shown(name), names(drivers, nil))
		}
		for key := range settings {
			if !d.has(key) {
				return nil, fmt.Errorf("stores: Config.Drivers[%q]: unknown key %s", name, shown(key))
			}
		}
	}
	return drivers, nil
}

// unused refuses a driver's settings, a database or a Redis that no store uses: somebody expects something of it.
func (o *Opening) unused(choice []chosen, drivers map[string]Driver) error {
	for _, name := range slices.Sorted(maps.Keys(o.cfg.Drivers)) {
		uses := func(c chosen) bool { return c.name == name }
		if len(drivers[name].Keys) > 0 && !slices.ContainsFunc(choice, uses) {
			return fmt.Errorf("stores: no store uses the driver %s that is configured (Config.Drivers[%q], [storage.%s] in a file)", name, name, name)
		}
	}
	for _, c := range choice {
		if !c.InProcess {
			return nil
		}
	}
	switch {
	case o.hasSQL():
		return errors.New("stores: every store is in memory, which uses not the SQL database that is configured (Config.SQL, " + sqlTable + ", or WithSQL)")
	case o.client != nil:
		return errors.New("stores: every store is in memory, which uses not the Redis that is configured (Config.Redis, " + redisTable + ", or WithRedis)")
	}
	return nil
}

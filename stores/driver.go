package stores

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// Driver makes what keeps the records, one function for each kind; nil: the driver does not offer the kind. The functions
// are called by Open, once each at most. Open calls none of two drivers at the same time.
type Driver struct {
	// Keys are the settings of the driver, in [storage.<its name>] of a file: lower-case letters, digits and '_'. A driver
	// with keys is refused where none of them is given, and what is given of one that no store uses; one without needs no
	// configuration.
	Keys []string
	// InProcess says that what the driver keeps is known to this Backend alone: then Redis is not told of changes, nor is
	// another Backend of this process, unless what both have is one *policy.Memory.
	InProcess bool

	// Policies makes the authority of the policy store, and the functions below it the backends of the other stores. What they
	// answer without an error is never nil, nor a nil pointer.
	Policies   func(context.Context, *Opening) (policy.Authority, error)
	Sessions   func(context.Context, *Opening) (session.Backend, error)
	RateLimits func(context.Context, *Opening) (ratelimit.Backend, error)
	Agents     func(context.Context, *Opening) (registry.Backend, error)
	Threads    func(context.Context, *Opening) (checkpoint.Backend, error)
	Runs       func(context.Context, *Opening) (runlog.Backend, error)
}

var (
	driversMu  sync.RWMutex // guards registered
	registered = map[string]Driver{}
)

// RegisterDriver makes a driver known under a name: a lower-case letter, then lower-case letters, digits and '_'. It is
// called from an init function, and panics if the name or a key is none, or if the name or a key's variable is taken, as
// database/sql does.
func RegisterDriver(name string, d Driver) {
	driversMu.Lock()
	defer driversMu.Unlock()
	if err := checkDriver(name, d); err != nil {
		panic("stores: RegisterDriver: " + err.Error())
	}
	if _, taken := registered[name]; taken {
		panic("stores: RegisterDriver called twice for " + name)
	}
	if taken := clash(name, d); taken != "" {
		panic("stores: RegisterDriver: " + name + ": the variable " + taken + " is that of another key")
	}
	registered[name] = d
}

// clash answers a variable of the driver's that is another key's: in the environment '.' and '_' are one. driversMu is held.
func clash(name string, d Driver) string {
	taken := map[string]bool{}
	for _, k := range keysOf(reflect.TypeFor[Config](), "", nil) {
		taken[k.variable()] = true
	}
	for other, d := range registered {
		for _, setting := range d.Keys {
			taken[settingKey(other, setting).variable()] = true
		}
	}
	table := key{path: "storage." + name}.variable()
	if taken[table] {
		return table
	}
	for _, setting := range d.Keys {
		if v := settingKey(name, setting).variable(); taken[v] {
			return v
		}
	}
	return ""
}

// checkDriver refuses names that could not stand in a file or in the environment.
func checkDriver(name string, d Driver) error {
	for _, word := range append([]string{name}, d.Keys...) {
		odd := word == "" || len(word) > 64 || word[0] < 'a' || word[0] > 'z'
		for _, c := range []byte(word) {
			odd = odd || (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_'
		}
		if odd {
			const rule = "a lower-case letter and then lower-case letters, digits and '_', at most 64"
			return fmt.Errorf("the name of a driver or a key must be %s, got %s", rule, shown(word))
		}
	}
	return nil
}

// known are the registered drivers and those of the options, which hide registered ones of their names.
func known(more map[string]Driver) map[string]Driver {
	driversMu.RLock()
	defer driversMu.RUnlock()
	all := maps.Clone(registered)
	maps.Copy(all, more)
	return all
}

// made is what a driver's function has made. That it is nothing shows here, and not in a panic of who first asks for the store.
func made[B any](backend B, err error) (B, error) {
	if err == nil && layout.IsNil(backend) {
		err = errors.New("the driver answered nil and no error")
	}
	return backend, err
}

// has says whether the driver has a setting.
func (d Driver) has(key string) bool { return slices.Contains(d.Keys, key) }

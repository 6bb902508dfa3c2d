package registry

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/layercache/layercache/l2"
)

// Status is what an agent is doing.
type Status string

// The statuses. Another one, of a newer program, is kept as it is read; no task goes to its agent.
const (
	// Available agents get tasks while they have free load.
	Available Status = "available"
	// Busy agents get none. A heartbeat leaves them busy.
	Busy Status = "busy"
	// Offline agents were silent when Reap looked. A heartbeat makes them available.
	Offline Status = "offline"
)

func (s Status) known() bool { return s == Available || s == Busy || s == Offline }

// MaxDocument is the longest JSON of an agent, in bytes.
const MaxDocument = 64 << 10

// Agent is one record of the registry. It is a plain value: what is changed in a copy is not changed in the registry.
// Its JSON is that of the original system; members that this version does not know are kept when it is written again.
type Agent struct {
	// ID names the agent: 1 to 1,024 bytes.
	ID string
	// Name is for people.
	Name string
	// Capabilities are what it can do.
	Capabilities Capabilities
	// Status is Available, Busy or Offline; "" at Register means Available.
	Status Status
	// LastHeartbeat is when the agent was last heard of, by the backend's clock. Register takes the zero time, every other up to
	// the begin of 1970, and one that is still to come, for now.
	LastHeartbeat time.Time
	// CurrentLoad is how many tasks it has, MaxLoad how many it can have, both at most 2^53-1; MaxLoad 0: as many as that.
	CurrentLoad, MaxLoad int

	unknown string // members of the JSON that this version does not know, each after a comma
}

// Free says whether a task may go to the agent: it is Available, and its load is below its maximum.
func (a Agent) Free() bool {
	return a.Status == Available && a.CurrentLoad < maxLoad && (a.MaxLoad == 0 || a.CurrentLoad < a.MaxLoad)
}

// same says whether two records differ in nothing but the heartbeat.
func (a Agent) same(b Agent) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Status == b.Status && a.CurrentLoad == b.CurrentLoad &&
		a.MaxLoad == b.MaxLoad && a.unknown == b.unknown && slices.Equal(a.Capabilities.names, b.Capabilities.names)
}

// check says why an agent cannot be registered. The zero status is filled in, and a heartbeat that no clock of a backend can
// have shown becomes the zero time.
func (a *Agent) check() error {
	if err := checkID(a.ID); err != nil {
		return err
	}
	if a.Status == "" {
		a.Status = Available
	}
	switch {
	case !a.Status.known():
		return errStatus
	case a.CurrentLoad < 0 || a.CurrentLoad > maxLoad:
		return refused("agent current_load must be from 0 to %d, got %d", maxLoad, a.CurrentLoad)
	case a.MaxLoad < 0 || a.MaxLoad > maxLoad:
		return refused("agent max_load must be from 0 to %d, got %d", maxLoad, a.MaxLoad)
	case a.LastHeartbeat.UTC().Year() < 1 || a.LastHeartbeat.UTC().Year() > 9999:
		return refused("agent last_heartbeat must be in the years 1 to 9999")
	}
	if a.LastHeartbeat.UnixMilli() <= 0 {
		a.LastHeartbeat = time.Time{}
	}
	for _, text := range append([]string{a.Name, a.unknown}, a.Capabilities.names...) {
		if !isText(text) {
			return refused("agent must be UTF-8 without NUL bytes")
		}
	}
	if n := len(a.encode()); n > MaxDocument {
		return refused("agent must have at most %d bytes of JSON, got %d", MaxDocument, n)
	}
	return nil
}

// maxLoad is the highest load that scripts can count: a Lua number is exact up to it. Nothing is added to it.
const maxLoad = 1<<53 - 1

func checkID(id string) error {
	if id == "" {
		return &Error{Code: BadInput, text: "agent ID is required"}
	}
	if len(id) > l2.MaxID {
		return refused("agent ID must have at most %d bytes, got %d", l2.MaxID, len(id))
	}
	if !isText(id) {
		return refused("agent ID must be UTF-8 without NUL bytes")
	}
	return nil
}

// isText says whether every backend can keep a string as it is.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// Capabilities are names of what an agent can do, in the order they were given. Immutable; the zero value has none.
type Capabilities struct{ names []string }

// Capable makes Capabilities.
func Capable(names ...string) Capabilities { return Capabilities{slices.Clone(names)} }

// Len is how many there are.
func (c Capabilities) Len() int { return len(c.names) }

// At is the one at i, which must be from 0 to Len()-1.
func (c Capabilities) At(i int) string { return c.names[i] }

// Has says whether name is one of them.
func (c Capabilities) Has(name string) bool { return slices.Contains(c.names, name) }

func (c Capabilities) hasAll(names []string) bool {
	for _, name := range names {
		if !c.Has(name) {
			return false
		}
	}
	return true
}

// All are all of them.
func (c Capabilities) All() iter.Seq[string] { return slices.Values(c.names) }

// String shows them as a list.
func (c Capabilities) String() string { return fmt.Sprint(c.names) }

// MarshalJSON is an array.
func (c Capabilities) MarshalJSON() ([]byte, error) {
	if c.names == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(c.names)
}

// UnmarshalJSON reads an array; null is none.
func (c *Capabilities) UnmarshalJSON(data []byte) error {
	var names []string // not c.names, which other copies share
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	c.names = names
	return nil
}

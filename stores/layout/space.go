package layout

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/layercache/layercache/l2"
)

// Config names a space.
type Config struct {
	// Prefix begins every key. Required: 1 to 128 letters, digits, '.', '_' and '-'.
	Prefix string
	// Tenant separates one tenant's keys from another's. Same letters; "": none, and the keys are the original system's.
	Tenant string
	// Tagged makes prefix and tenant the hash tag of every key, as a Redis Cluster needs it for keys that are used together.
	Tagged bool
}

// Space is where a store keeps its keys for one tenant. The zero Space is not one; New makes them.
type Space struct {
	head string
}

// New makes a Space. An error names the field.
func New(cfg Config) (Space, error) {
	if err := word("Prefix", cfg.Prefix); err != nil {
		return Space{}, err
	}
	head := cfg.Prefix
	if cfg.Tenant != "" {
		if err := word("Tenant", cfg.Tenant); err != nil {
			return Space{}, err
		}
		head = "@" + cfg.Tenant + ":" + head
	}
	if cfg.Tagged {
		head = "{" + head + "}"
	}
	return Space{head: head + ":"}, nil
}

// IsName says whether s can name a namespace, a prefix or a tenant: it becomes a part of keys and channels. It has from 1 to 128
// letters, digits, '.', '_' or '-'.
func IsName(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !('0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// IsNil says that v is nil, or an interface that holds a nil pointer.
func IsNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

// word holds what separates or matches nothing in a key. What it refuses is not shown: a tenant is nobody else's business.
func word(field, s string) error {
	if !IsName(s) {
		return fmt.Errorf("%s must have from 1 to 128 letters, digits, '.', '_' or '-'", field)
	}
	return nil
}

// Name is the key of the one thing that a space has of its kind.
func (s Space) Name(kind string) string { return s.head + kind }

// Key is the key of one record of a kind. Of its id, A-Z a-z 0-9 . _ : - stay as they are and every other byte becomes %XX.
// An id that is empty or longer than l2.MaxID bytes is refused.
func (s Space) Key(kind, id string) (string, error) {
	encoded, err := l2.NewID(id)
	if err != nil {
		return "", err
	}
	return s.head + kind + ":" + encoded.String(), nil
}

// Record is the space of one record that has several keys: prefix, tenant and id are the hash tag of each, Tagged or not, so
// that a Redis Cluster keeps the keys of a record in one slot and spreads the records. The id is encoded and refused as in
// Key. No key of it is one of the Space's own, or of another record.
func (s Space) Record(id string) (Space, error) {
	encoded, err := l2.NewID(id)
	if err != nil {
		return Space{}, err
	}
	return Space{head: "{" + strings.Trim(s.head, "{}:") + ":" + encoded.String() + "}:"}, nil
}

package readthrough

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"

	"github.com/layercache/layercache/l2"
)

// keyForm turns keys into ids and, where it can, ids back into keys.
type keyForm[K comparable] struct {
	id    func(K) (string, error)
	parse func(string) (K, error) // nil: not possible
}

// newKeyForm chooses the form of a key type: a function of the user's, the text form of the type itself, or that of a
// string or integer kind.
func newKeyForm[K comparable](id func(K) (string, error), parse func(string) (K, error)) (keyForm[K], error) {
	if id != nil {
		return keyForm[K]{id: id, parse: parse}, nil
	}
	var zero K
	if _, ok := any(zero).(encoding.TextMarshaler); ok {
		form := keyForm[K]{id: func(k K) (string, error) {
			text, err := any(k).(encoding.TextMarshaler).MarshalText()
			return string(text), err
		}}
		if _, ok := any(&zero).(encoding.TextUnmarshaler); ok {
			form.parse = func(s string) (k K, err error) {
				err = any(&k).(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
				return k, err
			}
		}
		return form, nil
	}
	switch t := reflect.TypeFor[K](); t.Kind() {
	case reflect.String:
		return keyForm[K]{
			id:    func(k K) (string, error) { return reflect.ValueOf(k).String(), nil },
			parse: func(s string) (K, error) { return reflect.ValueOf(s).Convert(t).Interface().(K), nil },
		}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return keyForm[K]{
			id: func(k K) (string, error) { return strconv.FormatInt(reflect.ValueOf(k).Int(), 10), nil },
			parse: func(s string) (k K, err error) {
				n, err := strconv.ParseInt(s, 10, t.Bits())
				reflect.ValueOf(&k).Elem().SetInt(n)
				return k, err
			},
		}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return keyForm[K]{
			id: func(k K) (string, error) { return strconv.FormatUint(reflect.ValueOf(k).Uint(), 10), nil },
			parse: func(s string) (k K, err error) {
				n, err := strconv.ParseUint(s, 10, t.Bits())
				reflect.ValueOf(&k).Elem().SetUint(n)
				return k, err
			},
		}, nil
	}
	return keyForm[K]{}, fmt.Errorf("readthrough: Config.ID is required for keys of type %s: it is no string or integer and has no MarshalText",
		reflect.TypeFor[K]())
}

// text is the key's id as the user's code tells it.
func (f keyForm[K]) text(key K) (text string, err error) {
	defer recovered(&err)
	return f.id(key)
}

// key is the key of an id, if there is a way back.
func (f keyForm[K]) key(id string) (key K, ok bool) {
	if f.parse == nil {
		return key, false
	}
	key, err := f.parsed(id)
	return key, err == nil
}

func (f keyForm[K]) parsed(id string) (key K, err error) {
	defer recovered(&err) // it runs in the goroutine that reads the authority's log
	return f.parse(id)
}

// id is the key's id in L2 and on the bus.
func (c *Cache[K, V]) id(key K) (l2.ID, error) {
	text, err := c.keys.text(key)
	if err != nil {
		return l2.ID{}, fmt.Errorf("%w: %w", ErrInvalidKey, err)
	}
	id, err := l2.NewID(text)
	if err != nil {
		return l2.ID{}, fmt.Errorf("%w: %w", ErrInvalidKey, err)
	}
	return id, nil
}

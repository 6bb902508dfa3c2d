package l2

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// The codecs of this package.
const (
	CodecJSON   CodecID = 1
	CodecBinary CodecID = 2
)

// Codec turns values into bytes and back. It is safe for concurrent use. Decode must not keep b.
type Codec[V any] interface {
	// ID is stored with the bytes, so that a reader with another codec takes them for a miss. Own codecs use 128 and up.
	ID() CodecID
	// Append appends the encoded v to dst.
	Append(dst []byte, v V) ([]byte, error)
	// Decode reads all of b.
	Decode(b []byte) (V, error)
}

// DefaultCodec is Binary if the type has a binary form of its own, else JSON.
func DefaultCodec[V any]() Codec[V] {
	if c, ok := Binary[V](); ok {
		return c
	}
	return JSON[V]()
}

// JSON encodes with encoding/json.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) ID() CodecID { return CodecJSON }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, &CodecError{Op: "encode", Err: err}
	}
	return append(dst, b...), nil
}

func (jsonCodec[V]) Decode(b []byte) (V, error) {
	var v V
	if err := json.Unmarshal(b, &v); err != nil {
		var zero V
		return zero, &CodecError{Op: "decode", Err: err}
	}
	return v, nil
}

// Binary uses a type's own encoding.BinaryAppender and encoding.BinaryUnmarshaler. V may be the type itself, with either
// method on its pointer, or a pointer to it. ok is false if V has no such form. A type that embeds another one with these
// methods has them too, and loses its other fields: as with encoding/json, it needs methods of its own.
func Binary[V any]() (c Codec[V], ok bool) {
	t := reflect.TypeFor[V]()
	value, pointer := t, reflect.PointerTo(t)
	isPointer := t.Kind() == reflect.Pointer
	if isPointer {
		value, pointer = t.Elem(), t
	}
	if t.Kind() == reflect.Interface || !pointer.Implements(reflect.TypeFor[encoding.BinaryAppender]()) ||
		!pointer.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()) {
		return nil, false
	}
	if isPointer {
		return pointerCodec[V]{elem: value}, true
	}
	return valueCodec[V]{}, true
}

var errNilValue = errors.New("a nil pointer has no binary form")

// pointerCodec is for a V that is a pointer.
type pointerCodec[V any] struct{ elem reflect.Type }

func (pointerCodec[V]) ID() CodecID { return CodecBinary }

func (pointerCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	if reflect.ValueOf(v).IsNil() {
		return dst, &CodecError{Op: "encode", Err: errNilValue}
	}
	return appendBinary(dst, v)
}

func (c pointerCodec[V]) Decode(b []byte) (V, error) {
	v, _ := reflect.New(c.elem).Interface().(V)
	if err := decodeBinary(b, v); err != nil {
		var zero V
		return zero, err
	}
	return v, nil
}

// valueCodec is for a V whose pointer has the methods.
type valueCodec[V any] struct{}

func (valueCodec[V]) ID() CodecID { return CodecBinary }

func (valueCodec[V]) Append(dst []byte, v V) ([]byte, error) { return appendBinary(dst, &v) }

func (valueCodec[V]) Decode(b []byte) (V, error) {
	var v V
	if err := decodeBinary(b, &v); err != nil {
		var zero V
		return zero, err
	}
	return v, nil
}

func appendBinary(dst []byte, v any) ([]byte, error) {
	a, ok := v.(encoding.BinaryAppender)
	if !ok {
		return dst, &CodecError{Op: "encode", Err: fmt.Errorf("%T has no binary form", v)}
	}
	out, err := a.AppendBinary(dst)
	if err != nil {
		return dst, &CodecError{Op: "encode", Err: err}
	}
	return out, nil
}

func decodeBinary(b []byte, v any) error {
	u, ok := v.(encoding.BinaryUnmarshaler)
	if !ok {
		return &CodecError{Op: "decode", Err: fmt.Errorf("%T has no binary form", v)}
	}
	if err := u.UnmarshalBinary(b); err != nil {
		return &CodecError{Op: "decode", Err: err}
	}
	return nil
}

// CodecError says that a codec failed. Its text leaves out the cause's, which may quote the value; Unwrap has it.
type CodecError struct {
	// Op is "encode" or "decode".
	Op  string
	Err error
}

// Error names the operation and the kind of the cause.
func (e *CodecError) Error() string { return fmt.Sprintf("l2: %s: %T", e.Op, e.Err) }

// Unwrap is the cause.
func (e *CodecError) Unwrap() error { return e.Err }

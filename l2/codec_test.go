package l2_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/layercache/layercache/l2"
)

type plainType struct{ Name string }

// valueForm has its methods on the pointer, as usual.
type valueForm struct{ name string }

func (v *valueForm) AppendBinary(b []byte) ([]byte, error) { return append(b, v.name...), nil }
func (v *valueForm) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		return errors.New("refusing to decode s3cret")
	}
	v.name = string(b)
	return nil
}

func TestTypesWithABinaryFormUseIt(t *testing.T) {
	if _, ok := l2.Binary[plainType](); ok {
		t.Error("a plain type has no binary form")
	}
	if _, ok := l2.Binary[any](); ok {
		t.Error("an interface has no binary form")
	}
	if got := l2.DefaultCodec[*plainType]().ID(); got != l2.CodecJSON {
		t.Errorf("codec %d, want JSON", got)
	}
	if got := l2.DefaultCodec[valueForm]().ID(); got != l2.CodecBinary {
		t.Errorf("codec %d, want binary", got)
	}
	if got := l2.DefaultCodec[*valueForm]().ID(); got != l2.CodecBinary {
		t.Errorf("codec %d, want binary", got)
	}
}

func roundTrip[V any](t *testing.T, c l2.Codec[V], v V) V {
	t.Helper()
	b, err := c.Append([]byte("before"), v)
	if err != nil || !strings.HasPrefix(string(b), "before") {
		t.Fatalf("%q, %v", b, err)
	}
	back, err := c.Decode(b[6:])
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func TestCodecsBringValuesBack(t *testing.T) {
	if got := roundTrip(t, l2.JSON[plainType](), plainType{"n"}); got.Name != "n" {
		t.Errorf("%+v", got)
	}
	if got := roundTrip(t, l2.DefaultCodec[*plainType](), &plainType{"n"}); got.Name != "n" {
		t.Errorf("%+v", got)
	}
	if got := roundTrip(t, l2.DefaultCodec[valueForm](), valueForm{"n"}); got.name != "n" {
		t.Errorf("%+v", got)
	}
	if got := roundTrip(t, l2.DefaultCodec[*valueForm](), &valueForm{"n"}); got.name != "n" {
		t.Errorf("%+v", got)
	}
}

func TestCodecErrorsTellNoValue(t *testing.T) {
	_, jsonErr := l2.JSON[int]().Decode([]byte(`"s3cret"`))
	_, trailing := l2.JSON[int]().Decode([]byte(`1 2`))
	_, encode := l2.JSON[chan int]().Append(nil, nil)
	_, value := l2.DefaultCodec[valueForm]().Decode(nil)
	_, pointer := l2.DefaultCodec[*valueForm]().Decode(nil)
	_, null := l2.DefaultCodec[*valueForm]().Append(nil, nil)
	for _, err := range []error{jsonErr, trailing, encode, value, pointer, null} {
		var codec *l2.CodecError
		if !errors.As(err, &codec) || codec.Err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}

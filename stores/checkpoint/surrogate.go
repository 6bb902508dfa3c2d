package checkpoint

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const halfText = "has half a surrogate pair, which no text can hold"

// half says whether JSON has an escape that stands for half a character: encoding/json would change it silently.
func half(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := escaped(raw[i:])
		switch {
		case !ok:
			i++ // what is escaped
		case !utf16.IsSurrogate(unit):
			i += 5
		default:
			other, _ := escaped(raw[i+6:])
			if utf16.DecodeRune(unit, other) == utf8.RuneError {
				return true
			}
			i += 11
		}
	}
	return false
}

// escaped reads \uXXXX at the beginning of raw.
func escaped(raw []byte) (unit rune, ok bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return rune(n), err == nil
}

// halfNamed says whether that is so of a name in raw, which is the object of fields. What the fields hold is kept as it is.
func halfNamed(fields map[string]json.RawMessage, raw []byte) bool {
	for name := range fields {
		if strings.ContainsRune(name, utf8.RuneError) {
			return half(names(raw))
		}
	}
	return false
}

// names is a JSON object without what its fields hold.
func names(raw []byte) (all []byte) {
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token() // the brace
	for d.More() {
		begin := d.InputOffset()
		if _, err := d.Token(); err != nil {
			return raw
		}
		all = append(all, raw[begin:d.InputOffset()]...)
		if d.Decode(new(json.RawMessage)) != nil {
			return raw
		}
	}
	return all
}

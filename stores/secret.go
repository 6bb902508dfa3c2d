package stores

import (
	"encoding"
	"fmt"
	"log/slog"
)

// Secret is a text that nothing prints: a URL that may hold a password, a password, a setting of a driver. The text is kept
// where not even a printer that walks unexported fields by reflection finds it. The zero Secret is the empty text. Immutable
// and safe for concurrent use; not comparable.
type Secret struct {
	reveal func() string // a closure is printed as its address
}

var (
	_ fmt.Formatter          = Secret{}
	_ slog.LogValuer         = Secret{}
	_ encoding.TextMarshaler = Secret{}
)

// NewSecret makes a Secret of a text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{reveal: func() string { return text }}
}

// Reveal answers the text, for those who connect with it.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero says whether the text is empty.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Format hides the text from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.LogValue().String()) }

// LogValue hides the text from package slog.
func (s Secret) LogValue() slog.Value {
	if s.IsZero() {
		return slog.StringValue("(none)")
	}
	return slog.StringValue("(withheld)")
}

// MarshalText hides the text from what encodes by text, such as encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.LogValue().String()), nil }

package policy

import (
	"strconv"
	"unicode/utf8"
)

// Draft is a policy that can be edited: the fields of a Document as plain values. Fields of the JSON this package does
// not know travel along in a draft taken from a document, and in its rules, and are written again after the known ones.
type Draft struct {
	// Version is the author's own version number of the policy.
	Version uint32
	// Name is for humans; it may be empty.
	Name string
	// Rules are evaluated in order and the first that matches decides. At most MaxRules; none: everything is denied.
	Rules []Rule
	// Mode says what becomes of a verdict. Default: Enforce.
	Mode Mode

	extra []member // the fields of the JSON document this package does not know
}

var documentFields = []string{"version", "name", "rules", "enforcement_mode"}

// decodeDraft reads a document that checkSyntax has passed.
func decodeDraft(source string) (Draft, error) {
	var values [4]string
	extra, err := split(source[skipSpace(source, 0):], top, documentFields, values[:])
	if err != nil {
		return Draft{}, err
	}
	draft := Draft{extra: extra}
	if draft.Version, err = decodeUint32(values[0], top, "version"); err != nil {
		return Draft{}, err
	}
	if draft.Name, err = decodeText(values[1], top, "name"); err != nil {
		return Draft{}, err
	}
	if draft.Rules, err = decodeRules(values[2]); err != nil {
		return Draft{}, err
	}
	if values[3] != "" { // missing: Enforce
		mode, err := decodeName(values[3], top, "enforcement_mode", modeNames[:], "must be enforce, observe or disabled")
		if err != nil {
			return Draft{}, err
		}
		draft.Mode = Mode(mode)
	}
	return draft, nil
}

func decodeRules(array string) ([]Rule, error) {
	if array == "" {
		return nil, &DocumentError{Field: "rules", Problem: "is required"}
	}
	if array[0] != '[' {
		return nil, &DocumentError{Field: "rules", Problem: "must be an array"}
	}
	var rules []Rule
	for element := range elements(array) {
		if len(rules) == MaxRules {
			return nil, &DocumentError{Field: "rules", Problem: "has more than " + strconv.Itoa(MaxRules) + " elements"}
		}
		rule, err := decodeRule(element, place(len(rules)))
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// appendJSON appends the draft, its known fields first and in the order of the contract.
func (d Draft) appendJSON(b []byte) ([]byte, error) {
	if !utf8.ValidString(d.Name) {
		return nil, &DocumentError{Field: "name", Problem: "is not valid UTF-8"}
	}
	if int(d.Mode) >= len(modeNames) {
		return nil, &DocumentError{Field: "enforcement_mode", Problem: "must be enforce, observe or disabled"}
	}
	b = append(b, `{"version":`...)
	b = strconv.AppendUint(b, uint64(d.Version), 10)
	b = append(b, `,"name":`...)
	b = appendText(b, d.Name)
	b = append(b, `,"rules":[`...)
	for i, rule := range d.Rules {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = rule.appendJSON(b, place(i)); err != nil {
			return nil, err
		}
	}
	b = append(b, `],"enforcement_mode":"`...)
	b = append(b, d.Mode.String()...)
	b = append(b, '"')
	return append(appendMembers(b, d.extra), '}'), nil
}

package policy

import (
	"errors"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

func (c Config) validateMirror() error {
	switch {
	case c.Mirror == "":
		return nil
	case !layout.IsName(c.Mirror):
		return errors.New("policy: Config.Mirror may hold letters, digits, '.', '_' and '-' only, at most 128")
	case c.alone():
		return errors.New("policy: Config.Mirror needs Redis or Link")
	}
	if _, ok := c.Authority.(*Memory); ok {
		return errors.New("policy: Config.Mirror needs an Authority that outlives the process, got a *Memory")
	}
	return nil
}

// mirror is where readers of the original system look for a document. The id's text stands in the key as it is there.
func (c Config) mirror() readthrough.Mirror[*Document] {
	if c.Mirror == "" {
		return readthrough.Mirror[*Document]{}
	}
	space, _ := layout.New(layout.Config{Prefix: c.Mirror, Tenant: c.Tenant}) // both have been validated
	return readthrough.Mirror[*Document]{
		Prefix: space.Name("policy") + ":",
		Encode: func(d *Document) ([]byte, error) { return []byte(d.source), nil },
	}
}

package runlog_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

func TestWrongInputIsRefusedBeforeAnything(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	for _, run := range []string{"", strings.Repeat("x", 1025), "\xff"} {
		_, appendErr := s.Append(t.Context(), run, text("x"))
		_, listErr := s.ListAfter(t.Context(), run, runlog.Cursor{}, 1)
		_, lastErr := s.Last(t.Context(), run)
		_, sessionErr := s.Session(t.Context(), run)
		_, importErr := s.Import(t.Context(), runlog.Original{}, run)
		for _, err := range []error{appendErr, listErr, lastErr, sessionErr, importErr, s.Delete(t.Context(), run)} {
			if !errors.Is(err, readthrough.ErrInvalidKey) {
				t.Errorf("%.9q: %v", run, err)
			}
		}
	}
	for what, e := range map[string]runlog.Event{
		"nothing":      {},
		"no JSON":      {Body: json.RawMessage(`{"A":`)},
		"no tag":       {Body: json.RawMessage(`{}`)},
		"two tags":     {Body: json.RawMessage(`{"A":1,"B":2}`)},
		"a list":       {Body: json.RawMessage(`[1]`)},
		"too long":     {Body: json.RawMessage(`{"A":"` + strings.Repeat("x", runlog.MaxEvent) + `"}`)},
		"a far year":   {Body: json.RawMessage(`"A"`), EmittedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"odd session":  {Body: json.RawMessage(`{"RunStarted":{"session_id":7}}`)},
		"half session": {Body: json.RawMessage(`{"RunStarted":{"session_id":"\ud800"}}`)},
		"no text":      start("\xff"),
		"long session": start(strings.Repeat("s", runlog.MaxSession+1)),
	} {
		if _, err := s.AppendBatch(t.Context(), "r", []runlog.Event{text("x"), e}); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := s.AppendBatch(t.Context(), "r", texts(runlog.MaxBatch+1)); err == nil {
		t.Error("a batch of any size is accepted")
	}
	if _, err := s.ListAfter(t.Context(), "r", runlog.Cursor{}, 0); err == nil {
		t.Error("a limit of 0 is accepted")
	}
	if all, err := s.AppendBatch(t.Context(), "r", nil); all != nil || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	if p := list(t, s, "r", 0, 10); p.LastSeq != 0 {
		t.Errorf("%+v", p)
	}
}

// Else it would be there for ever and unreadable where an id of its envelope is not plain ASCII.
func TestAnEventTooDeepForAnEnvelopeIsRefused(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	nested := func(levels int) runlog.Event {
		return runlog.Event{Body: json.RawMessage(`{"A":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`)}
	}
	for _, run := range []string{"r", "ü"} {
		deep := add(t, s, run, nested(9999))[0]
		if p := list(t, s, run, 0, 1); string(p.Events[0].Event) != string(deep.Event) {
			t.Errorf("%s: it is read as something else", run)
		}
		if _, err := json.Marshal(deep); err != nil {
			t.Errorf("%s: %v", run, err)
		}
		if _, err := s.Append(t.Context(), run, nested(10_000)); err == nil || errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", run, err)
		}
		if p := list(t, s, run, 0, 10); p.LastSeq != 1 {
			t.Errorf("%s: it is stored", run)
		}
	}
}

// Else the ids of its first events would be forgotten at once, and appended again it would be stored again.
func TestABatchIsRefusedThatARunWouldNotKeep(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect(func(c *runlog.Config) { c.MaxEvents = 10 })
		if _, err := s.AppendBatch(t.Context(), "r", texts(11)); err == nil || !strings.Contains(err.Error(), "Config.MaxEvents") {
			t.Errorf("%v", err)
		}
		events := texts(10)
		for range 2 {
			if all := add(t, s, "r", events...); all[0].Seq != 1 || all[9].Seq != 10 {
				t.Errorf("%+v", all)
			}
		}
	})
}

func TestConfigsAreRefusedByField(t *testing.T) {
	client := mini(t)
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	for field, set := range map[string]change{
		"Backend ":     func(c *runlog.Config) { c.Backend = nil },
		"Link ":        func(c *runlog.Config) { c.Link, c.Local = link, &invalidation.Local{} },
		"Name ":        func(c *runlog.Config) { c.Name = "a:b" },
		"Tenant ":      func(c *runlog.Config) { c.Tenant = "secret*" },
		"Bound ":       func(c *runlog.Config) { c.Bound = 1 },
		"MaxEvents ":   func(c *runlog.Config) { c.MaxEvents = -1 },
		"MaxAge ":      func(c *runlog.Config) { c.MaxAge = time.Microsecond },
		"KeepAfterEnd": func(c *runlog.Config) { c.KeepAfterEnd = -1 },
		"TTL ":         func(c *runlog.Config) { c.TTL = -1 },
		"TailTTL ":     func(c *runlog.Config) { c.TailTTL = time.Minute },
		"MaxEntries ":  func(c *runlog.Config) { c.MaxEntries = -1 },
		"Poll ":        func(c *runlog.Config) { c.Poll = time.Hour },
		"Patience ":    func(c *runlog.Config) { c.Patience = 48 * time.Hour },
	} {
		cfg := runlog.Config{Backend: &runlog.Memory{}}
		set(&cfg)
		s, err := runlog.New(cfg)
		if err == nil {
			_ = s.Close(t.Context())
		}
		if err == nil || !strings.HasPrefix(err.Error(), "runlog: Config."+field) || strings.Contains(err.Error(), "secret") ||
			cfg.Validate() == nil {
			t.Errorf("%s: %v", field, err)
		}
	}
	for field, cfg := range map[string]runlog.RedisConfig{
		"Client": {}, "Prefix": {Client: client, Prefix: "a:b"}, "Tenant": {Client: client, Tenant: "secret:"},
	} {
		if _, err := runlog.NewRedis(cfg); err == nil || !strings.HasPrefix(err.Error(), "runlog: RedisConfig."+field) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Else its processes would not hear each other's deletions.
func TestATenantIsTheBackends(t *testing.T) {
	client := mini(t)
	for _, its := range []string{"", "a"} {
		b, err := runlog.NewRedis(runlog.RedisConfig{Client: client, Tenant: its})
		if err != nil {
			t.Fatal(err)
		}
		for _, tenant := range []string{"", "a", "secret"} {
			err := runlog.Config{Backend: b, Tenant: tenant}.Validate()
			if (err == nil) != (tenant == its) {
				t.Errorf("%q over the Backend of %q: %v", tenant, its, err)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "runlog: Config.Tenant ") || strings.Contains(err.Error(), "secret")) {
				t.Error(err)
			}
		}
	}
}

func TestAnEventOfNoKindIsNotMade(t *testing.T) {
	for _, kind := range []string{"", "a\xff"} { // JSON would have another kind in place of the second
		if e, err := runlog.NewEvent(kind, 1); err == nil || len(e.Body) > 0 {
			t.Errorf("%q: %s, %v", kind, e.Body, err)
		}
	}
}

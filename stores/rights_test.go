package stores_test

import (
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// docs/coherence.md, "For operators".
func TestTheDocumentedRightsAreEnoughForTheStores(t *testing.T) {
	for name, c := range map[string]struct {
		tenant        string
		tagged        bool
		before, after string
	}{
		"plain": {after: ":*"}, "tenant": {tenant: "acme", before: "@acme:", after: ":*"}, "tagged": {tagged: true, before: "{", after: "}:*"},
		"tenant, tagged": {tenant: "acme", tagged: true, before: "{@acme:", after: "}:*"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			runs := "{runs:*"
			if c.tenant != "" {
				runs = "{@" + c.tenant + ":runs:*"
			}
			args := []any{"ACL", "SETUSER", "app", "reset", "on", ">secret", "+@all", "~lc:*", "&lc:*", "~" + runs, "&" + runs}
			for _, prefix := range []string{"aa", "agents", "agentic"} {
				args = append(args, "~"+c.before+prefix+c.after)
			}
			server.Do(args...)
			b := open(t, stores.Config{
				PolicyStore: "memory", Tenant: c.tenant,
				Redis: stores.RedisConfig{Addrs: []string{server.Addr()}, Username: "app", Password: stores.NewSecret("secret"), Tagged: c.tagged},
			})
			id, run := session.ID{1}, "r"
			event, err := runlog.NewEvent("Tick", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, saveErr := b.Sessions().SaveAsync(t.Context(), session.Session{ID: id, StartedAt: time.Now()})
			_, loadErr := b.Sessions().Load(t.Context(), id)
			_, allowErr := b.RateLimits().Allow(t.Context(), "k", 1, ratelimit.Limit{Max: 5, Window: time.Minute})
			_, smoothErr := b.RateLimits().Allow(t.Context(), "g", 1, ratelimit.Limit{Max: 5, Window: time.Minute, Algorithm: ratelimit.GCRA})
			_, threadErr := b.Threads().Save(t.Context(), "t", []byte("x"))
			_, threadsErr := b.Threads().List(t.Context(), "", 10)
			_, agentErr := b.Agents().RegisterAsync(t.Context(), registry.Agent{ID: "a"})
			_, agentsErr := b.Agents().List(t.Context())
			_, runErr := b.Runs().Append(t.Context(), run, event)
			_, readErr := b.Runs().ListAfter(t.Context(), run, runlog.Cursor{}, 10)
			for what, err := range map[string]error{
				"save": saveErr, "load": loadErr, "allow": allowErr, "allow smoothly": smoothErr, "save a thread": threadErr, "list threads": threadsErr,
				"register": agentErr, "list agents": agentsErr, "append": runErr, "read a run": readErr,
			} {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, err := range b.Runs().Follow(t.Context(), run, runlog.Cursor{}) {
				if err != nil {
					t.Errorf("follow: %v", err)
				}
				break
			}
		})
	}
}

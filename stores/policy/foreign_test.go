package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/telemetry"
)

// overSQL runs a test over both databases, with and without Redis.
func overSQL(t *testing.T, test func(t *testing.T, f *fleet)) {
	for _, name := range []string{"sqlite", "postgres"} {
		for _, bus := range []string{"local", "redis"} {
			t.Run(name+"/"+bus, func(t *testing.T) { test(t, newFleet(t, name, bus)) })
		}
	}
}

func TestForeignWriteIsSeenByEveryStoreWithinRAndB(t *testing.T) {
	overSQL(t, func(t *testing.T, f *fleet) {
		stores := []*policy.Store{f.open(t), f.open(t)}
		put(t, stores[0], agent(1), policy.Allow)
		for _, c := range []struct {
			name, statement string
			want            error // nil: a denial
		}{
			{"update", "UPDATE layercache_policies SET document = '" + revoked + "'", nil},
			{"delete", "DELETE FROM layercache_policies WHERE agent_id = '" + agent(1).String() + "'", readthrough.ErrNotFound},
			{"insert", "INSERT INTO layercache_policies (agent_id, document) VALUES ('" + agent(1).String() + "', '" + revoked + "')", nil},
		} {
			var before []policy.Decision
			for _, s := range stores {
				d, _ := s.Decide(t.Context(), agent(1), "tool:shell")
				before = append(before, d)
			}
			f.exec(t, c.statement)
			committed := time.Now() // it was, at some time before
			for i, s := range stores {
				var lastOld time.Time
				eventually(t, c.name, func() bool {
					begun := time.Now()
					d, err := s.Decide(t.Context(), agent(1), "tool:shell")
					now := c.want == nil && err == nil && d.Verdict() == policy.Deny || c.want != nil && errors.Is(err, c.want)
					if !now {
						if lastOld = begun; d.Verdict() != before[i].Verdict() {
							t.Fatalf("%s: %+v, %v: neither old nor new", c.name, d, err)
						}
					}
					return now
				})
				if late := lastOld.Sub(committed); late > relay+bound+slack {
					t.Errorf("%s, store %d: an old answer to a check that began %v after the commit, want at most %v", c.name, i, late, relay+bound+slack)
				}
			}
			if c.want == nil {
				put(t, stores[1], agent(1), policy.Allow)
			}
		}
	})
}

func TestFaultyDocumentInTheDatabaseFailsAloneAndNamesTheField(t *testing.T) {
	overSQL(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		put(t, s, agent(1), policy.Allow)
		put(t, s, agent(2), policy.Allow)
		for field, document := range map[string]string{
			"rules[0].decision":       strings.Replace(revoked, "Deny", "Maybe", 1),
			"document":                "not a policy",
			"rules[0].action_pattern": strings.Replace(revoked, `"*"`, `"[^a]"`, 1),
		} {
			f.exec(t, "UPDATE layercache_policies SET document = '"+document+"' WHERE agent_id = '"+agent(1).String()+"'")
			var d policy.Decision
			var err error
			eventually(t, "error of "+field, func() bool {
				d, err = s.Decide(t.Context(), agent(1), "tool:shell")
				fault, ok := errors.AsType[*policy.DocumentError](err)
				return ok && fault.Field == field
			})
			denied(t, field, readthrough.ErrUnavailable, d, err)
			if !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "Maybe") || strings.Contains(err.Error(), "not a policy") {
				t.Errorf("the error must name the field and not repeat it: %v", err)
			}
			many, err := s.GetMany(t.Context(), []policy.AgentID{agent(1), agent(2), agent(9)}, readthrough.SkipL1())
			if fault, ok := errors.AsType[*policy.DocumentError](err); !ok || fault.Field != field || errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("GetMany: %v", err)
			}
			if len(many) != 1 || many[agent(2)] == nil || !many[agent(2)].Decide("tool:shell").Allowed() {
				t.Errorf("GetMany beside a faulty document: %v", many)
			}
		}
		put(t, s, agent(1), policy.RequireApproval)
		if got := decide(t, s, agent(1)); got != policy.RequireApproval {
			t.Errorf("after it was mended: %v", got)
		}
	})
}

// The id of a foreign row need not be an agent's. It must not stop the relay or the poll.
func TestForeignRowThatIsNoAgentsHarmsNothing(t *testing.T) {
	f := newFleet(t, "sqlite", "redis")
	seen := newEvents()
	s := f.open(t, func(cfg *policy.Config) { cfg.Poll, cfg.Telemetry = 20*time.Millisecond, seen })
	put(t, s, agent(1), policy.Allow)
	f.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('no agent {*}', 'x'), ('"+strings.ToUpper(policy.AgentID{0xab}.String())+"', 'x')")
	eventually(t, "delivery", func() bool {
		return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE delivered_ms = 0") == 0
	})
	f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"' WHERE agent_id = '"+agent(1).String()+"'")
	eventually(t, "the change after it", func() bool { return decide(t, s, agent(1)) == policy.Deny })
	if n := seen.of(telemetry.PollFailed); n != 0 {
		t.Errorf("%d polls failed", n)
	}
}

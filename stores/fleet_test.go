package stores_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores"
	_ "github.com/layercache/layercache/stores/driver/postgres"
	_ "github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

const (
	fleetBound = 300 * time.Millisecond // B
	fleetRelay = 200 * time.Millisecond // R
	agents     = 6
	// slack is what is granted to a busy machine beyond a bound of the protocol, where the bound is on what a process does
	// and not on what it may answer.
	slack    = 3 * time.Second
	patience = 30 * time.Second
)

// cold are agents, from this number on, for whom no process decides by itself.
const cold = 100

// fleet is four processes that decide all the time, and this one, which writes.
type fleet struct {
	t       testing.TB
	cfg     memberConfig
	server  *redistest.Server
	proxy   *redistest.Proxy // before the last member
	members []*process
	writer  *policy.Store
	last    [agents]int      // revision of each agent
	writes  map[[2]int]write // by agent and revision
}

// write is when a revision was written, on the clock of the machine.
type write struct{ began, executed, inForce int64 }

// databases is where the fleets keep their policies.
var databases = map[string]func(t testing.TB) string{
	"sqlite":   sqliteURL,
	"postgres": pgtest.NewDatabase,
}

func newFleet(t testing.TB, database string, change ...func(*memberConfig)) *fleet {
	t.Helper()
	f := &fleet{t: t, server: redistest.Start(t), writes: map[[2]int]write{}}
	f.cfg = memberConfig{
		SQL: databases[database](t), Redis: f.server.URL(), Bound: fleetBound, Relay: fleetRelay, Settle: 2 * time.Second, Agents: agents,
	}
	for _, c := range change {
		c(&f.cfg)
	}
	f.proxy = redistest.NewProxy(t, f.server.Addr())
	backend, err := stores.Open(t.Context(), f.cfg.stores())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := backend.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	f.writer = backend.Policies()
	first := map[policy.AgentID]*policy.Document{}
	for a := range agents {
		first[agent(a)] = revision(0)
	}
	if _, err := f.writer.Import(t.Context(), maps.All(first)); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		cfg := f.cfg
		if i == 3 {
			cfg.Redis = "redis://" + f.proxy.Addr()
		}
		f.members = append(f.members, start(t, "member", cfg))
	}
	f.serving()
	return f
}

// serving waits until every process answers for every agent from its memory.
func (f *fleet) serving() {
	f.t.Helper()
	f.until("serving lease", func(r report) bool {
		for a, n := range f.last {
			if r.of(a, n).Count < 10 {
				return false
			}
		}
		return r.Serving
	})
}

// until waits until every process has seen enough.
func (f *fleet) until(what string, enough func(report) bool) {
	f.t.Helper()
	for _, m := range f.members {
		redistest.Eventually(f.t, patience, what, func() bool { return enough(m.report()) })
	}
}

// put writes the next revision of an agent and waits until it is in force.
func (f *fleet) put(a int) write {
	f.t.Helper()
	f.last[a]++
	w := write{began: monotonic()}
	r, err := f.writer.PutAsync(f.t.Context(), agent(a), revision(f.last[a]))
	if err != nil {
		f.t.Fatalf("PutAsync: %v", err)
	}
	redistest.Eventually(f.t, patience, "execution", r.Executed) // at once, unless the machine is too busy for Redis
	w.executed = monotonic()
	if err := r.Wait(f.t.Context()); err != nil {
		f.t.Fatalf("Wait: %v", err)
	}
	w.inForce = monotonic()
	f.writes[[2]int{a, f.last[a]}] = w
	return w
}

// settled waits until every process has answered with the last revision of every agent, and answers their reports.
func (f *fleet) settled() []report {
	f.t.Helper()
	f.until("decisions by the last revisions", func(r report) bool {
		for a, n := range f.last {
			if r.of(a, n).Count == 0 {
				return false
			}
		}
		return true
	})
	reports := make([]report, len(f.members))
	for i, m := range f.members {
		reports[i] = m.report()
		if reports[i].Errors > 0 {
			f.t.Errorf("process %d: %d checks failed, the first with: %s", i, reports[i].Errors, reports[i].Error)
		}
	}
	return reports
}

// judge fails the test for each decision that began after a newer policy was in force, and answers how many decisions
// there were, and how many by a policy that was being replaced.
func (f *fleet) judge(reports []report) (decisions, replaced int64) {
	f.t.Helper()
	for i, r := range reports {
		decisions += r.decisions()
		for at, w := range f.writes {
			old := r.of(at[0], at[1]-1)
			if late := time.Duration(old.LastBegun - w.inForce); late > 0 {
				f.t.Errorf("process %d, agent %d: a decision by revision %d began %v after Put of %d had returned", i, at[0], at[1]-1, late, at[1])
			}
			if old.LastBegun > w.began {
				replaced++
			}
		}
	}
	return decisions, replaced
}

func TestFleetAnswersNothingOldAfterPutReturns(t *testing.T) {
	for name := range databases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			f.put(0) // the epoch is young: this one waits for B
			before := map[*process]int64{}
			for _, m := range f.members {
				before[m] = m.report().decisions()
			}
			var puts []time.Duration
			for i := range 200 {
				w := f.put(i % agents)
				puts = append(puts, time.Duration(w.inForce-w.began))
			}
			for _, m := range f.members {
				redistest.Eventually(t, patience, "3,000 decisions", func() bool { return m.report().decisions()-before[m] >= 3000 })
			}
			reports := f.settled()
			decisions, replaced := f.judge(reports)
			for _, n := range before {
				decisions -= n
			}
			if decisions < 10_000 || replaced == 0 {
				t.Errorf("%d decisions, %d revisions in use while they were replaced: the run proves nothing", decisions, replaced)
			}
			delete(f.writes, [2]int{0, 1})
			slices.Sort(puts)
			applied := f.applied(reports)
			t.Logf("%d decisions in 4 processes after the first Put had returned; Put: median %v, max %v; from Put's start until all 4 processes answer new: median %v, max %v",
				decisions, puts[len(puts)/2], puts[len(puts)-1], applied[len(applied)/2], applied[len(applied)-1])
		})
	}
}

// applied is, for each write, the time from its start until every process has answered with it or with something newer.
func (f *fleet) applied(reports []report) []time.Duration {
	var all []time.Duration
	for at, w := range f.writes {
		var slowest int64
		for _, r := range reports {
			first := int64(1<<63 - 1)
			for _, s := range r.Sightings {
				if s.Agent == at[0] && s.Revision >= at[1] {
					first = min(first, s.FirstEnded)
				}
			}
			slowest = max(slowest, first)
		}
		all = append(all, time.Duration(slowest-w.began))
	}
	slices.Sort(all)
	return all
}

// within fails the test for each decision by an older policy that began later than limit after the event.
func (f *fleet) within(what string, reports []report, a, n int, event int64, limit time.Duration) (worst time.Duration) {
	f.t.Helper()
	for i, r := range reports {
		for _, s := range r.Sightings {
			if s.Agent != a || s.Revision >= n {
				continue
			}
			late := time.Duration(s.LastBegun - event)
			worst = max(worst, late)
			if late > limit {
				f.t.Errorf("process %d: a decision by revision %d began %v after %s of %d, want at most %v", i, s.Revision, late, what, n, limit)
			}
		}
	}
	return worst
}

func TestFleetAnswersManyChecksOfAColdAgentInTwoProcessesWithOneLoad(t *testing.T) {
	const rounds, checks = 5, 5000
	for name := range databases {
		t.Run(name, func(t *testing.T) {
			// A lease that outlasts what a busy machine does to it: without one a process asks the authority, and may.
			f := newFleet(t, name, func(cfg *memberConfig) { cfg.Bound = 2 * time.Second })
			for round := range rounds {
				if _, err := f.writer.Put(t.Context(), agent(cold+round), revision(1)); err != nil {
					t.Fatal(err)
				}
			}
			f.serving()
			two := f.members[:2]
			overlapped := 0
			for round := range rounds {
				line := fmt.Sprintf("storm %d %d %d", cold+round, checks, monotonic()+int64(300*time.Millisecond))
				for _, m := range two {
					m.tell(line)
				}
				var storms [2]storm
				for i, m := range two {
					m.hear(line, &storms[i])
				}
				if loads := storms[0].Loads + storms[1].Loads; loads != 1 {
					t.Errorf("round %d: %d checks in each of two processes cost %d and %d loads, want 1 in all", round, checks, storms[0].Loads, storms[1].Loads)
				}
				for i, s := range storms {
					if s.Errors > 0 {
						t.Errorf("round %d: process %d: %d checks failed, one with: %s", round, i, s.Errors, s.Error)
					}
				}
				if storms[0].Began < storms[1].Ended && storms[1].Began < storms[0].Ended {
					overlapped++
				}
				t.Logf("round %d: let go %v apart, answered within %v and %v", round, time.Duration(storms[1].Began-storms[0].Began).Abs(),
					time.Duration(storms[0].Ended-storms[0].Began), time.Duration(storms[1].Ended-storms[1].Began))
			}
			if overlapped == 0 {
				t.Errorf("in none of %d rounds did the two processes check at the same time: the run proves nothing", rounds)
			}
		})
	}
}

func TestFleetBoundsStalenessWithABlackholedBus(t *testing.T) {
	f := newFleet(t, "sqlite")
	f.put(0)
	for name, cut := range map[string]func(){
		"blackhole": f.proxy.Blackhole, "answers lost": f.proxy.BlackholeToClient, "requests lost": f.proxy.BlackholeToServer,
	} {
		f.serving()
		cut()
		began := time.Now()
		var worst, longest time.Duration
		for a := range agents {
			w := f.put(a)
			longest = max(longest, time.Duration(w.inForce-w.began))
		}
		f.settled() // reads go to the authority meanwhile
		select {
		case <-time.After(3*fleetBound - time.Since(began)):
		case <-t.Context().Done():
		}
		held := monotonic()
		f.until("decision after 3 × B of the cut", func(r report) bool {
			return slices.ContainsFunc(r.Sightings, func(s sighting) bool { return s.LastBegun > held })
		})
		reports, lasted := f.settled(), time.Since(began)
		for a, n := range f.last {
			w := f.writes[[2]int{a, n}]
			worst = max(worst, f.within("the executed invalidation", reports, a, n, w.executed, fleetBound))
		}
		f.judge(reports)
		f.proxy.Restore()
		t.Logf("%s: cut for %v; oldest answer %v after the executed invalidation (B is %v), longest Put %v", name, lasted, worst, fleetBound, longest)
		if limit := fleetBound + protocol.Margin(fleetBound) + slack; longest > limit {
			t.Errorf("%s: a Put took %v, want at most %v", name, longest, limit)
		}
		if longest < fleetBound/2 {
			t.Errorf("%s: no Put waited for the process that could not be reached: the longest took %v", name, longest)
		}
		f.put(0)
		f.judge(f.settled())
	}
}

func TestFleetBoundsStalenessOfAStoppedProcess(t *testing.T) {
	for name := range databases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			f.put(0)
			stopped := f.members[0]
			stopped.signal(syscall.SIGSTOP)
			t.Cleanup(func() { _ = stopped.cmd.Process.Signal(syscall.SIGCONT) })
			began := time.Now()
			var longest time.Duration
			for a := range agents {
				w := f.put(a)
				longest = max(longest, time.Duration(w.inForce-w.began))
			}
			if limit := fleetBound + protocol.Margin(fleetBound) + slack; longest > limit {
				t.Errorf("a Put took %v beside a stopped process, want at most %v", longest, limit)
			}
			select {
			case <-time.After(3*fleetBound - time.Since(began)):
			case <-t.Context().Done():
			}
			continued := monotonic()
			stopped.signal(syscall.SIGCONT)
			reports := f.settled()
			f.judge(reports)
			for a, n := range f.last {
				w := f.writes[[2]int{a, n}]
				f.within("the executed invalidation", reports, a, n, w.executed, fleetBound)
				if old := reports[0].of(a, n-1); old.LastBegun > continued {
					t.Errorf("agent %d: a decision by revision %d began %v after the process went on", a, n-1, time.Duration(old.LastBegun-continued))
				}
			}
			t.Logf("stopped for %v; longest Put %v (B is %v)", time.Since(began), longest, fleetBound)
		})
	}
}

func TestFleetHearsOfAWriterKilledBetweenCommitAndInvalidation(t *testing.T) {
	for name := range databases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			f.put(0)
			var worst time.Duration
			for a := range 3 {
				doomed := start(t, "writer", f.cfg)
				f.last[a]++
				var committed int64
				doomed.ask(fmt.Sprintf("commit %d %d", a, f.last[a]), &committed)
				doomed.kill()
				reports := f.settled()
				worst = max(worst, f.within("the commit", reports, a, f.last[a], committed, fleetRelay+fleetBound))
			}
			t.Logf("oldest answer %v after the commit (R + B is %v)", worst, fleetRelay+fleetBound)
		})
	}
}

func TestFleetSeesWhatAForeignProgramWrites(t *testing.T) {
	for name := range databases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			run := func(query string) { pgtest.Exec(t, f.cfg.SQL, query) }
			if name == "sqlite" {
				run = sqlite3(t, strings.TrimPrefix(f.cfg.SQL, "sqlite://"))
			}
			f.put(0)
			var worst time.Duration
			for a := range 3 {
				f.last[a]++
				doc, err := revision(f.last[a]).MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				run(fmt.Sprintf("UPDATE layercache_policies SET document = '%s' WHERE agent_id = '%s'", doc, agent(a)))
				committed := monotonic() // it was, at some time before
				worst = max(worst, f.within("the commit", f.settled(), a, f.last[a], committed, fleetRelay+fleetBound))
			}
			// More records than a log names one by one, and all of them at once.
			for a := range agents {
				f.last[a] = 90
			}
			doc, err := revision(90).MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var rows []string
			for i := range 100 {
				rows = append(rows, fmt.Sprintf("('%s', '%s')", agent(i), doc))
			}
			run("INSERT INTO layercache_policies (agent_id, document) VALUES " + strings.Join(rows, ", ") +
				" ON CONFLICT (tenant, agent_id) DO UPDATE SET document = excluded.document")
			committed := monotonic()
			reports := f.settled()
			for a := range agents {
				worst = max(worst, f.within("the commit", reports, a, 90, committed, fleetRelay+fleetBound))
			}
			t.Logf("oldest answer %v after the program ended (R + B is %v)", worst, fleetRelay+fleetBound)
		})
	}
}

// sqlite3 runs statements with the program of that name, or, loudly, not at all.
func sqlite3(t *testing.T, path string) func(query string) {
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		const missing = "NOT TESTED: sqlite3 is not in PATH"
		if os.Getenv(redistest.RequireReal) == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return func(query string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), bin, "-cmd", ".timeout 5000", path, query).CombinedOutput(); err != nil {
			t.Fatalf("sqlite3: %v: %s", err, out)
		}
	}
}

// TestFleetChecksAThousandTimesASecond measures and does not judge the speed: that is the machine's.
func TestFleetChecksAThousandTimesASecond(t *testing.T) {
	length := 3 * time.Second
	if os.Getenv("LAYERCACHE_LONG") == "1" {
		length = 30 * time.Second
	}
	f := newFleet(t, "postgres")
	f.put(0)
	ended := make(chan struct{})
	var p pace
	go func() { // ends with the measurement
		defer close(ended)
		f.members[0].ask(fmt.Sprintf("pace 1000 %d", length.Milliseconds()), &p)
	}()
	puts := 0
	for revoke := time.NewTicker(100 * time.Millisecond); ; puts++ {
		select {
		case <-revoke.C:
			f.put(puts % agents)
			continue
		case <-ended:
		}
		revoke.Stop()
		break
	}
	if want := int(length.Seconds() * 1000); p.Checks != want || p.Errors > 0 {
		t.Errorf("%d checks, %d failed; want %d and none", p.Checks, p.Errors, want)
	}
	f.judge(f.settled())
	t.Logf("%d checks in %v beside %d revocations, with 4 processes deciding: p50 %v, p99 %v, max %v", p.Checks, length, puts, p.P50, p.P99, p.Max)
}

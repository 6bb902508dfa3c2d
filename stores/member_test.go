package stores_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// This file is a process of a fleet test: the test binary, run once more. It obeys lines on its standard input, answers
// each with a line on its standard output, and ends when the input does.

const (
	roleVariable   = "LAYERCACHE_FLEET_ROLE" // member or writer
	configVariable = "LAYERCACHE_FLEET_CONFIG"
)

// memberConfig is what a process is told by its environment.
type memberConfig struct {
	SQL, Redis           string
	Bound, Relay, Settle time.Duration
	Agents               int // that a member decides for all the time
}

func (c memberConfig) stores() stores.Config {
	return stores.Config{
		SQL:    stores.SQLConfig{URL: stores.NewSecret(c.SQL)},
		Redis:  stores.RedisConfig{URL: stores.NewSecret(c.Redis)},
		Policy: stores.PolicyConfig{Bound: c.Bound, Relay: c.Relay, Settle: c.Settle},
	}
}

// sighting is what one process saw of one revision of one agent's policy. Times are nanoseconds of CLOCK_MONOTONIC, which
// all processes of the machine share.
type sighting struct {
	Agent, Revision int
	Count           int64
	LastBegun       int64 // when the last decision by it began
	FirstEnded      int64 // when the first decision by it was there
}

// report is what a process saw so far.
type report struct {
	Sightings []sighting
	Serving   bool // it holds a serving lease
	Errors    int64
	Error     string // the first
}

// pace is what a process measured at a steady rate.
type pace struct {
	Checks        int
	P50, P99, Max time.Duration
	Errors        int64
}

// storm is what a process saw of many checks of one agent at once.
type storm struct {
	Began, Ended int64 // when the first was let go, and when the last was answered
	Loads        uint64
	Errors       int64
	Error        string // one of them
}

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

func agent(n int) policy.AgentID { return policy.AgentID{0: 0xa9, 15: byte(n)} }

const action = "tool:shell"

// revision makes the document of a revision. The number is in the pattern, so that a decision names it.
func revision(n int) *policy.Document {
	doc, err := policy.NewDocument(policy.Draft{Version: uint32(n), Name: "fleet", Rules: []policy.Rule{
		{ActionPattern: "tool:fs.*", Decision: policy.RequireApproval},
		{ActionPattern: fmt.Sprintf("tool:[s%d]hell", n), Decision: policy.Verdict(n % 2)},
	}})
	if err != nil {
		panic(err)
	}
	return doc
}

// revisionOf reads the number of the document that a decision was made by.
func revisionOf(d policy.Decision) (int, error) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(d.Pattern(), "tool:[s"), "]")
	n, err := strconv.Atoi(digits)
	if err == nil && d.Verdict() != policy.Verdict(n%2) {
		err = errors.New("the verdict is not the revision's")
	}
	return n, err
}

func play(role string) int {
	var cfg memberConfig
	err := json.Unmarshal([]byte(os.Getenv(configVariable)), &cfg)
	if err == nil {
		switch role {
		case "member":
			err = playMember(cfg)
		case "writer":
			err = playWriter(cfg)
		default:
			err = fmt.Errorf("no role %q", role)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// playWriter commits a revision without telling anybody, as a process does that dies between commit and invalidation.
func playWriter(cfg memberConfig) error {
	ctx := context.Background()
	driver, err := sqlsource.Lookup(cfg.SQL)
	if err != nil {
		return err
	}
	db, err := driver.Open(ctx, cfg.SQL)
	if err != nil {
		return err
	}
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: driver.Dialect})
	if err != nil {
		return err
	}
	table, err := source.Table(sqlsource.Policies, "")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var a, n int
		if _, err := fmt.Sscanf(lines.Text(), "commit %d %d", &a, &n); err != nil {
			return err
		}
		doc, err := revision(n).MarshalBinary()
		if err != nil {
			return err
		}
		if _, err := table.Put(ctx, agent(a).String(), doc, "doomed"); err != nil {
			return err
		}
		fmt.Println(monotonic())
	}
	return nil
}

// member is the state of a process that decides all the time.
type member struct {
	policies *policy.Store
	agents   int
	loads    loads

	mu    sync.Mutex // guards the fields below
	seen  map[[2]int]*sighting
	errs  int64
	first string
}

func playMember(cfg memberConfig) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := &member{agents: cfg.Agents, loads: loads{Telemetry: telemetry.Nop}, seen: map[[2]int]*sighting{}}
	backend, err := stores.Open(ctx, cfg.stores(), stores.WithTelemetry(&m.loads))
	if err != nil {
		return err
	}
	m.policies = backend.Policies()
	var running sync.WaitGroup
	running.Go(func() { m.decideAll(ctx) }) // ends with ctx
	fmt.Println("ready")
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var rate, ms, a, n int
		var at int64
		switch line := lines.Text(); {
		case line == "report":
			err = out.Encode(m.report())
		case strings.HasPrefix(line, "pace"):
			if _, err = fmt.Sscanf(line, "pace %d %d", &rate, &ms); err == nil {
				err = out.Encode(m.pace(ctx, rate, time.Duration(ms)*time.Millisecond))
			}
		case strings.HasPrefix(line, "storm"):
			if _, err = fmt.Sscanf(line, "storm %d %d %d", &a, &n, &at); err == nil {
				err = out.Encode(m.storm(ctx, agent(a), n, at))
			}
		default:
			err = fmt.Errorf("unknown line %q", line)
		}
		if err != nil {
			break
		}
	}
	cancel()
	running.Wait()
	closing, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return errors.Join(err, backend.Close(closing))
}

// decideAll asks for each agent once a millisecond.
func (m *member) decideAll(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for a := range m.agents {
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			begun := monotonic()
			d, err := m.policies.Decide(call, agent(a), action)
			ended := monotonic()
			cancel()
			if ctx.Err() != nil {
				return
			}
			m.note(a, d, err, begun, ended)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *member) note(a int, d policy.Decision, err error, begun, ended int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int
	if err == nil {
		n, err = revisionOf(d)
	}
	if err != nil {
		if m.errs++; m.errs == 1 {
			m.first = err.Error()
		}
		return
	}
	s := m.seen[[2]int{a, n}]
	if s == nil {
		s = &sighting{Agent: a, Revision: n, FirstEnded: ended}
		m.seen[[2]int{a, n}] = s
	}
	s.Count++
	s.LastBegun = begun
}

func (m *member) report() report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := report{Serving: m.policies.Health().Lease > 0, Errors: m.errs, Error: m.first}
	for s := range maps.Values(m.seen) {
		r.Sightings = append(r.Sightings, *s)
	}
	return r
}

// pace makes checks at a steady rate, whatever they take: each at its own time, from a goroutine of its own.
func (m *member) pace(ctx context.Context, rate int, d time.Duration) pace {
	n := int(d.Seconds() * float64(rate))
	took := make([]time.Duration, n)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, uint64(m.agents-1))
	var checks sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs int64
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if left := time.Until(due); left > 0 {
			select {
			case <-time.After(left):
			case <-ctx.Done():
			}
		}
		id := agent(int(zipf.Uint64()))
		checks.Go(func() {
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := m.policies.Decide(call, id, action)
			took[i] = time.Since(due) // a check that was late to begin counts from when it was due
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs++
			}
		})
	}
	checks.Wait()
	slices.Sort(took)
	return pace{Checks: n, P50: took[n/2], P99: took[n*99/100], Max: took[n-1], Errors: errs}
}

// storm makes n checks of an agent at once, all of them let go at a time of CLOCK_MONOTONIC.
func (m *member) storm(ctx context.Context, id policy.AgentID, n int, at int64) storm {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var s storm
	var checks, waiting sync.WaitGroup
	var mu sync.Mutex // guards s's errors
	begin := make(chan struct{})
	for range n {
		waiting.Add(1)
		checks.Go(func() {
			waiting.Done()
			<-begin
			d, err := m.policies.Decide(ctx, id, action)
			if err == nil {
				_, err = revisionOf(d)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				s.Errors++
				s.Error = err.Error()
			}
		})
	}
	waiting.Wait()
	before := m.loads.count()
	select {
	case <-time.After(time.Duration(at - monotonic())):
	case <-ctx.Done():
	}
	s.Began = monotonic()
	close(begin)
	checks.Wait()
	s.Ended = monotonic()
	s.Loads = m.loads.count() - before
	return s
}

// loads counts the loads of the authority by the caches of a process.
type loads struct {
	telemetry.Telemetry
	mu   sync.Mutex // guards read
	read []func() telemetry.Snapshot
}

func (l *loads) Watch(_ string, read func() telemetry.Snapshot) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = append(l.read, read)
	return func() {}
}

func (l *loads) count() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, read := range l.read {
		s := read()
		n += s.LoadFound + s.LoadAbsent + s.LoadFailed
	}
	return n
}

// process is a process of the fleet, as the test holds it.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   *os.File
	out  *bufio.Scanner
	errs *strings.Builder
}

// start runs this test binary in a role. It is killed, by its pid, when the test ends.
func start(t testing.TB, role string, cfg memberConfig) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self), in: write, errs: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(text))
	p.cmd.Stdin, p.cmd.Stderr = read, p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 16<<20)
	err = p.cmd.Start()
	_ = read.Close()
	if err != nil {
		_ = write.Close()
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if line := p.line(); line != "ready" {
		t.Fatalf("%s: %q, want ready", role, line)
	}
	return p
}

func (p *process) kill() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal: %v", err)
	}
}

// line reads an answer. A process that does not answer in time is killed, which ends the reading.
func (p *process) line() string {
	p.t.Helper()
	late := time.AfterFunc(60*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if !p.out.Scan() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.t.Fatalf("a process of the fleet ended: %v %s", p.out.Err(), p.errs)
	}
	return p.out.Text()
}

func (p *process) ask(line string, answer any) {
	p.t.Helper()
	p.tell(line)
	p.hear(line, answer)
}

// tell gives a line whose answer is heard later.
func (p *process) tell(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
}

// hear waits for the answer to a line.
func (p *process) hear(line string, answer any) {
	p.t.Helper()
	text := p.line()
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		p.t.Fatalf("%s: %q: %v", line, text, err)
	}
}

func (p *process) report() report {
	p.t.Helper()
	var r report
	p.ask("report", &r)
	return r
}

// of answers what was seen of a revision, the zero sighting if it was not.
func (r report) of(a, n int) sighting {
	i := slices.IndexFunc(r.Sightings, func(s sighting) bool { return s.Agent == a && s.Revision == n })
	if i < 0 {
		return sighting{}
	}
	return r.Sightings[i]
}

// decisions is how many there were.
func (r report) decisions() (n int64) {
	for _, s := range r.Sightings {
		n += s.Count
	}
	return n
}

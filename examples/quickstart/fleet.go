package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// fleet are the children, as processes.
type fleet []*process

// process is one child. Its fields are of the goroutine that began it, except decided.
type process struct {
	number  int
	cmd     *exec.Cmd
	stdin   io.Closer
	orders  *json.Encoder
	notices chan notice   // what it said, but for its progress; closed when it has ended
	unheard chan struct{} // closed: nobody listens to notices any more
	err     error         // of its end; to be read when notices is closed
	decided atomic.Int64
}

// begin starts n children. Those that it has started are in the fleet, also beside an error.
func begin(n int) (fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	var f fleet
	for number := 1; number <= n; number++ {
		p, err := beginOne(self, number)
		if err != nil {
			return f, fmt.Errorf("process %d: %w", number, err)
		}
		f = append(f, p)
	}
	return f, nil
}

func beginOne(self string, number int) (*process, error) {
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{
		number: number, cmd: cmd, stdin: stdin, orders: json.NewEncoder(stdin),
		notices: make(chan notice), unheard: make(chan struct{}),
	}
	go p.listen(stdout) // ends with the process, for which end waits
	return p, nil
}

// listen passes on what the child says until it has ended.
func (p *process) listen(stdout io.Reader) {
	defer close(p.notices)
	for lines := json.NewDecoder(stdout); ; {
		var n notice
		if lines.Decode(&n) != nil {
			break
		}
		if n.Fact == noticeDecisions {
			p.decided.Store(n.Decisions)
			continue
		}
		select {
		case p.notices <- n:
		case <-p.unheard:
		}
	}
	_, _ = io.Copy(io.Discard, stdout) // after a line that is no notice
	p.err = p.cmd.Wait()
}

// decisions is how many all have made so far.
func (f fleet) decisions() int64 {
	var sum int64
	for _, p := range f {
		sum += p.decided.Load()
	}
	return sum
}

// tell sends an order to every child.
func (f fleet) tell(o order) error {
	for _, p := range f {
		if err := p.tell(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) tell(o order) error {
	if err := p.orders.Encode(o); err != nil {
		return fmt.Errorf("process %d: %w", p.number, err)
	}
	return nil
}

// hear waits until every child has told what is wanted, and answers it in their order.
func (f fleet) hear(ctx context.Context, want fact) ([]notice, error) {
	all := make([]notice, len(f))
	for i, p := range f {
		select {
		case n, ok := <-p.notices:
			switch {
			case !ok:
				return nil, fmt.Errorf("process %d has ended: %w", p.number, errors.Join(p.err, io.EOF))
			case n.Fact == noticeBroken:
				return nil, fmt.Errorf("process %d: %s", p.number, n.Error)
			case n.Fact != want:
				return nil, fmt.Errorf("process %d tells %s, not %s", p.number, n.Fact, want)
			}
			all[i] = n
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for process %d to tell %s: %w", p.number, want, context.Cause(ctx))
		}
	}
	return all, nil
}

// ended waits until the children have ended by themselves after their result.
func (f fleet) ended(ctx context.Context) error {
	for _, p := range f {
		if !p.gone(ctx) {
			return fmt.Errorf("process %d does not end: %w", p.number, context.Cause(ctx))
		}
		if p.err != nil {
			return fmt.Errorf("process %d: %w", p.number, p.err)
		}
	}
	return nil
}

// end ends those children that are left, however far they are: it closes their stdin, at which they end by themselves,
// and kills those that do not within their grace. It returns when all are gone.
func (f fleet) end(ctx context.Context) error {
	for _, p := range f {
		close(p.unheard)
		_ = p.stdin.Close() // it may be gone already
	}
	patience, cancel := context.WithTimeout(ctx, grace+time.Second)
	defer cancel()
	var errs []error
	for _, p := range f {
		if !p.gone(patience) {
			errs = append(errs, fmt.Errorf("process %d did not end and was killed", p.number))
			_ = p.cmd.Process.Kill() // it may be gone by now
			p.gone(context.WithoutCancel(ctx))
		}
	}
	return errors.Join(errs...)
}

// gone waits for the process to end.
func (p *process) gone(ctx context.Context) bool {
	for {
		select {
		case _, more := <-p.notices:
			if !more {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

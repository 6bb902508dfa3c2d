package ratelimit

import (
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/telemetry"
)

// Config configures a Store. Zero fields mean their defaults.
type Config struct {
	// Backend keeps the counters. Required: a Memory, a Redis or one of your own. It is used and never closed.
	Backend Backend

	// OnFailure is what Allow, AllowAll and leases answer while the backend cannot be asked. The zero value denies. LocalShare
	// wants Processes: without it each process takes itself for the only one and allows the whole Max.
	OnFailure Failure
	// Processes is how many processes share the limits: each has 1/Processes of a limit with LocalShare, and a lease takes at
	// most half of that share of what remains. At most 2^20; 0: 1.
	Processes int64

	// Timeout bounds each call of the backend, beside the caller's context. A caller's deadline sooner than a sixteenth of it says
	// nothing of the backend. From 1 ms to 1 min; 0: 250 ms.
	Timeout time.Duration
	// Remember is how long at most this process answers "denied" from memory, and never longer than the backend would deny.
	// It bounds how late this process sees a Reset by another one, or permits that came back. At most 366 days; 0: 250 ms.
	// Negative: each call asks the backend.
	Remember time.Duration
	// MaxDenied bounds how many keys are remembered as denied. More are asked for each time. LocalShare counts as many keys,
	// and denies more. At most 2^24; 0: 65536.
	MaxDenied int

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

// Failure is what to answer while the backend cannot be asked. Increment, Current and Reset are readthrough.ErrUnavailable
// then, whatever it is.
type Failure uint8

const (
	// Deny allows nothing, and beside that answer is readthrough.ErrUnavailable.
	Deny Failure = iota
	// AllowAny allows everything.
	AllowAny
	// LocalShare allows each process Max/Processes permits, and Burst/Processes, rounded down, counted in its own memory. What
	// the backend had counted before is not known there.
	LocalShare
)

func (c Config) withDefaults() Config {
	if c.Processes == 0 {
		c.Processes = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 250 * time.Millisecond
	}
	if c.Remember == 0 {
		c.Remember = 250 * time.Millisecond
	}
	if c.MaxDenied == 0 {
		c.MaxDenied = 1 << 16
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	return c
}

func (c Config) validate() error {
	switch {
	case layout.IsNil(c.Backend):
		return errors.New("ratelimit: Config.Backend is required")
	case c.OnFailure > LocalShare:
		return fmt.Errorf("ratelimit: Config.OnFailure must be Deny, AllowAny or LocalShare, got %d", c.OnFailure)
	case c.Processes < 1 || c.Processes > 1<<20:
		return fmt.Errorf("ratelimit: Config.Processes must be from 1 to %d, got %d", 1<<20, c.Processes)
	case c.Timeout < time.Millisecond || c.Timeout > time.Minute:
		return fmt.Errorf("ratelimit: Config.Timeout must be from 1ms to 1m, got %s", c.Timeout)
	case c.Remember > maxWindow:
		return fmt.Errorf("ratelimit: Config.Remember must be at most %s, got %s", maxWindow, c.Remember)
	case c.MaxDenied < 1 || c.MaxDenied > 1<<24:
		return fmt.Errorf("ratelimit: Config.MaxDenied must be from 1 to %d, got %d", 1<<24, c.MaxDenied)
	}
	return nil
}

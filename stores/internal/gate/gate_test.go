package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAShutGateWaitsForThoseInsideAndLetsNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate.Gate
		for range 2 {
			if err := g.Enter(); err != nil {
				t.Fatal(err)
			}
		}
		if g.IsShut() || !g.Shut() || g.Shut() || !g.IsShut() {
			t.Error("the first to shut a gate is not told so, or the second is")
		}
		if err := g.Enter(); !errors.Is(err, readthrough.ErrClosed) {
			t.Errorf("entered a shut gate: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Wait(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("waited under an ended context: %v", err)
		}
		done := false
		go func() { // ends with those inside
			if err := g.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			done = true
		}()
		for range 2 {
			synctest.Wait()
			if done {
				t.Error("did not wait for those inside")
			}
			g.Leave()
		}
		synctest.Wait()
		if !done || g.Wait(ended) != nil {
			t.Error("waits for nobody")
		}
	})
}

func TestAPanicInsideKeepsNobodyWaiting(t *testing.T) {
	var g gate.Gate
	func() {
		defer func() { _ = recover() }()
		_ = g.InForce(t.Context(), func() (*readthrough.Receipt, error) { panic("a backend's") })
	}()
	g.Shut()
	if err := g.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

//go:build unix

package main

import (
	"syscall"
	"testing"
)

// ownGroup puts the program and its children in a process group of their own, as a shell does.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func TestSignalsLeaveNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		when   string // a line is printed
		signal syscall.Signal
		whole  bool // the group, as Ctrl-C does
	}{
		"Ctrl-C under load":      {"revoked", syscall.SIGINT, true},
		"Ctrl-C while importing": {"importing", syscall.SIGINT, true},
		"Ctrl-C while starting":  {"processes", syscall.SIGINT, true},
		"SIGINT to the parent":   {"revoked", syscall.SIGINT, false},
		"SIGTERM to the parent":  {"revoked", syscall.SIGTERM, false},
		"SIGTERM to all":         {"revoked", syscall.SIGTERM, true},
	} {
		t.Run(name, func(t *testing.T) {
			q := runProgram(t, "", "", "-duration", "1m")
			q.until(c.when)
			pid := q.cmd.Process.Pid
			if c.whole {
				pid = -pid
			}
			if err := syscall.Kill(pid, c.signal); err != nil {
				t.Fatal(err)
			}
			code, _, said := q.wait()
			if code != exitInterrupted || said != "quickstart: interrupted\n" {
				t.Errorf("exit code %d, stderr %q", code, said)
			}
			q.noFilesLeft()
		})
	}
}

func TestChildrenEndWhenTheirParentIsKilled(t *testing.T) {
	q := runProgram(t, "", "", "-duration", "1m")
	q.until("revoked")
	if err := q.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if q.ended() == 0 {
		t.Error("it was not killed")
	}
	q.nobodyLeft()
}

func TestClosedOutputEndsTheRunAndLeavesNothingBehind(t *testing.T) {
	q := runProgram(t, "", "", "-duration", "1s", "-revocations", "5")
	q.until("importing")
	if err := q.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	if code := q.ended(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	q.nobodyLeft()
	q.noFilesLeft()
}

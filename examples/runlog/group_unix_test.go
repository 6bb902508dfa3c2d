//go:build unix

package main

import (
	"syscall"
	"testing"
)

// ownGroup puts the program and its followers in a process group of their own, as a shell does.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func TestSignalsLeaveNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		when   string // a line is printed
		signal syscall.Signal
		whole  bool // the group, as Ctrl-C does
	}{
		"Ctrl-C at the beginning": {"a model says", syscall.SIGINT, true},
		"Ctrl-C in the middle":    {"killed", syscall.SIGINT, true},
		"SIGTERM to the parent":   {"killed", syscall.SIGTERM, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := runProgram(t, "", "-tokens", "9000", "-duration", "1m", "-kills", "20")
			x.until(c.when)
			pid := x.cmd.Process.Pid
			if c.whole {
				pid = -pid
			}
			if err := syscall.Kill(pid, c.signal); err != nil {
				t.Fatal(err)
			}
			code, _, said := x.wait()
			if code != exitInterrupted || said != "runlog: interrupted\n" {
				t.Errorf("exit code %d, stderr %q", code, said)
			}
			x.noFilesLeft()
		})
	}
}

func TestFollowersEndWhenTheirParentIsKilled(t *testing.T) {
	x := runProgram(t, "", "-tokens", "9000", "-duration", "1m", "-kills", "20")
	x.until("killed")
	if err := x.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if x.ended() == 0 {
		t.Error("it was not killed")
	}
	x.nobodyLeft()
}

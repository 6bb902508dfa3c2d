//go:build !unix

package pgtest

import (
	"fmt"
	"os/exec"
)

// account is who runs the server.
type account struct{}

func unprivileged() (account, error) {
	return account{}, fmt.Errorf("%w: this system has no /bin/sh to watch over them", errMissing)
}

func (account) own(string) error { return nil }

func (account) run(*exec.Cmd) {}

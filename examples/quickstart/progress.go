package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// progress shows what is going on: one line that is overwritten on a terminal, else a plain line now and then.
// Its methods are for one goroutine.
type progress struct {
	out      *os.File
	terminal bool
	width    int       // of the line that stands on the terminal
	shown    time.Time // when show last printed a plain line
	err      error     // the first of writing
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// say tells of a step, at once.
func (p *progress) say(format string, args ...any) {
	p.print(fmt.Sprintf(format, args...))
}

// show tells how far a step has come. Without a terminal it does once a second.
func (p *progress) show(format string, args ...any) {
	if !p.terminal {
		if time.Since(p.shown) < time.Second {
			return
		}
		p.shown = time.Now()
	}
	p.print(fmt.Sprintf(format, args...))
}

func (p *progress) print(line string) {
	if !p.terminal {
		p.write(line + "\n")
		return
	}
	p.write("\r" + line + strings.Repeat(" ", max(p.width-len(line), 0)))
	p.width = len(line)
}

func (p *progress) write(text string) {
	if _, err := p.out.WriteString(text); err != nil && p.err == nil {
		p.err = err
	}
}

// end removes the line from the terminal and answers whether anything could not be written. It may be called again.
func (p *progress) end() error {
	if p.width > 0 {
		p.write("\r" + strings.Repeat(" ", p.width) + "\r")
		p.width = 0
	}
	err := p.err
	p.err = nil
	return err
}

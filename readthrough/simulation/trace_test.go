package simulation_test

import (
	"bytes"
	"cmp"
	"crypto/sha1" // the name Redis gives a script
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// theServer is the process of what happens to the server.
const theServer = -1

// sent is a message, and what became of it.
type sent struct {
	at      time.Duration
	process int
	bus     bool
	way     direction
	head    string
	size    int
	arrives []time.Duration // its pieces
	faults  []string
}

func (m *sent) note(fault string) { m.faults = append(m.faults, fault) }

// String is the message in one line.
func (m *sent) String() string {
	who := "server"
	if m.process != theServer {
		who = strconv.Itoa(m.process)
	}
	if m.bus {
		who += " bus"
	}
	return fmt.Sprintf("%-13s %-6s %s %4d B %-60s %s %v", m.at, who, m.way, m.size, m.head, strings.Join(m.faults, ","), m.arrives)
}

// trace is all that was sent.
type trace []*sent

// lines are the messages in the order of their times. What was sent in one instant has the order of its senders.
func (t trace) lines() []string {
	t = slices.Clone(t)
	slices.SortStableFunc(t, func(a, b *sent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.process, b.process), cmp.Compare(a.String(), b.String()))
	})
	lines := make([]string, len(t))
	for i, m := range t {
		lines[i] = m.String()
	}
	return lines
}

// head says what a message is: of a script its name and its keys, of an answer its kind, as the rest may be random.
func head(p []byte) string {
	if bytes.HasPrefix(p, pushed) {
		return "message"
	}
	lines := strings.Split(string(p[:min(len(p), 600)]), "\r\n")
	if p[0] != '*' {
		return lines[0]
	}
	var words []string
	for i := 2; i < len(lines); i += 2 {
		words = append(words, lines[i])
	}
	switch {
	case len(words) > 4 && words[0] == "evalsha":
		n, _ := strconv.Atoi(words[2])
		keys := words[3:min(len(words), 3+n)]
		return scripts[words[1]] + " " + strings.Join(keys[min(len(keys), 4):], " ") + " in " + keys[0]
	case len(words) > 0 && words[0] == "eval":
		return "eval"
	}
	return strings.Join(words, " ")
}

// scripts are the names of our scripts by their hashes.
var scripts = map[string]string{}

func init() {
	prelude, err := os.ReadFile("../../l2/ensure.lua")
	if err != nil {
		panic(err)
	}
	files, _ := filepath.Glob("../../l2/*.lua")
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		sum := sha1.Sum(append(prelude[:len(prelude):len(prelude)], body...))
		scripts[hex.EncodeToString(sum[:])] = strings.TrimSuffix(filepath.Base(file), ".lua")
	}
}

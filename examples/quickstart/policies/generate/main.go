// Command generate writes the policy documents of package policies, policies.jsonl.gz and tools.txt, into the current
// folder. Its seed is fixed: every run gives the same lines.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

const (
	count    = 1200
	seedHigh = 0x6c61796572 // "layer"
	seedLow  = 0x6361636865 // "cache"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	lines, err := jsonLines()
	if err != nil {
		return err
	}
	packed, err := pack(lines)
	if err != nil {
		return err
	}
	if err := os.WriteFile("policies.jsonl.gz", packed, 0o644); err != nil {
		return err
	}
	return os.WriteFile("tools.txt", toolNames(), 0o644)
}

// jsonLines returns one line of JSON per agent.
func jsonLines() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	s := source{rand.NewPCG(seedHigh, seedLow)}
	for i := range count {
		if err := encoder.Encode(s.line(i)); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// pack compresses without a name or a time, so that equal lines give equal bytes with one release of Go.
func pack(lines []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(lines); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// toolNames returns the names of the tools, one a line, in the order of the table, which is sorted.
func toolNames() []byte {
	var out strings.Builder
	for _, t := range tools {
		out.WriteString(t.name + "\n")
	}
	return []byte(out.String())
}

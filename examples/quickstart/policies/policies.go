package policies

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/layercache/layercache/stores/policy"
)

//go:generate go run ./generate

// Count is the number of documents All yields.
const Count = 1200

//go:embed policies.jsonl.gz
var documents []byte

//go:embed tools.txt
var tools string

// All yields the agents and the JSON of their policies, always in the same order. It unpacks them as it goes; each slice
// is the caller's to keep.
func All() iter.Seq2[policy.AgentID, []byte] {
	return func(yield func(policy.AgentID, []byte) bool) {
		unpacked, err := gzip.NewReader(bytes.NewReader(documents))
		if err != nil {
			panic(fmt.Sprintf("policies: embedded documents: %v", err))
		}
		for lines := json.NewDecoder(unpacked); ; {
			var line struct {
				AgentID  policy.AgentID  `json:"agent_id"`
				Document json.RawMessage `json:"document"`
			}
			err := lines.Decode(&line)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				panic(fmt.Sprintf("policies: embedded documents: %v", err))
			}
			if !yield(line.AgentID, line.Document) {
				return
			}
		}
	}
}

// Tools returns the names of the tools the documents speak of, sorted. The slice is the caller's.
func Tools() []string { return strings.Fields(tools) }

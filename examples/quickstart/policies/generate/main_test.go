package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheFilesAreWhatTheGeneratorMakes(t *testing.T) {
	lines, err := jsonLines()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("../policies.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	// The lines are compared and not the compressed bytes, which another release of Go may make differently.
	kept, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, lines) {
		t.Error("policies.jsonl.gz is not what the generator makes; run go generate")
	}
	names, err := os.ReadFile("../tools.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(names, toolNames()) {
		t.Error("tools.txt is not what the generator makes; run go generate")
	}
}

func TestTwoRunsGiveTheSameBytes(t *testing.T) {
	var runs [2][]byte
	for i := range runs {
		lines, err := jsonLines()
		if err != nil {
			t.Fatal(err)
		}
		if runs[i], err = pack(lines); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(runs[0], runs[1]) {
		t.Error("two runs differ")
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/layercache/layercache/stores/runlog"
)

// A transcript is what the followers have heard, one after the other: a file with a line for each event. A line is both the
// work that was done for the event and the cursor after it, so that a killed process can neither do it twice nor forget it.

// line is one event in a transcript.
type line struct {
	Cursor runlog.Cursor `json:"cursor"`
	Kind   string        `json:"kind"`
	Delta  string        `json:"delta,omitempty"`
}

// resume opens a transcript to go on with it. A line that its writer did not finish is cut off.
func resume(path string) (*os.File, runlog.Cursor, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, runlog.Cursor{}, err
	}
	whole, lines, err := parse(file)
	if err == nil {
		err = file.Truncate(whole)
	}
	if err == nil {
		_, err = file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, runlog.Cursor{}, err
	}
	if len(lines) == 0 {
		return file, runlog.Cursor{}, nil
	}
	return file, lines[len(lines)-1].Cursor, nil
}

// parse reads a transcript: its finished lines and how many bytes they are.
func parse(r io.Reader) (whole int64, lines []line, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, nil, err
	}
	for {
		text, rest, finished := bytes.Cut(data, []byte("\n"))
		if !finished {
			return whole, lines, nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return 0, nil, fmt.Errorf("line %d of the transcript: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
		whole += int64(len(text)) + 1
		data = rest
	}
}

// transcript reads the finished lines of a file that a follower may be writing. A file that is not there has none.
func transcript(path string) ([]line, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	_, lines, err := parse(file)
	return lines, err
}

// verdict is nil if the lines are all the events that were appended, each once and in order.
func verdict(appended []runlog.Envelope, lines []line) (lost, repeated int, err error) {
	seen := map[uint64]int{}
	for _, l := range lines {
		seen[l.Cursor.Seq]++
	}
	for _, e := range appended {
		if seen[e.Seq] == 0 {
			lost++
		}
	}
	for _, n := range seen {
		repeated += n - 1
	}
	if lost > 0 || repeated > 0 {
		return lost, repeated, fmt.Errorf("%d events were lost and %d repeated", lost, repeated)
	}
	for i, l := range lines {
		if i >= len(appended) || l.Cursor != appended[i].Cursor() || l.Kind != appended[i].Kind() || l.Delta != delta(appended[i]) {
			return 0, 0, fmt.Errorf("event %d was heard as something else: %+v", i+1, l)
		}
	}
	return 0, 0, nil
}

// delta is the text of an event, if it has one.
func delta(e runlog.Envelope) string {
	var body map[string]struct {
		Delta string `json:"delta"`
	}
	_ = json.Unmarshal(e.Event, &body)
	return body[e.Kind()].Delta
}

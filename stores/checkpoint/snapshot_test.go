package checkpoint_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t testing.TB, data string) checkpoint.Snapshot {
	t.Helper()
	s, err := checkpoint.ParseSnapshot([]byte(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return s
}

func encode(t testing.TB, s checkpoint.Snapshot) string {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestGoldenSnapshotsAreReadAndWrittenByteForByte(t *testing.T) {
	for _, name := range []string{"snapshot.json", "minimal.json", "unknown.json"} {
		data := string(golden(t, name))
		if got := encode(t, parse(t, data)); got != data {
			t.Errorf("%s:\n got %s\nwant %s", name, got, data)
		}
	}
	want := checkpoint.Snapshot{
		Todos: []checkpoint.Todo{{Content: "read the <file>", Status: checkpoint.Completed}, {Content: "c", Status: checkpoint.Pending}},
		Files: map[string]string{"a.txt": "line 1\nline \"2\" é", "b/c.md": ""},
		Scratchpad: map[string]json.RawMessage{
			"k": json.RawMessage(`{"deep":[1,2.50,9007199254740993,null]}`), "n": json.RawMessage("null"),
		},
		Interrupts: []checkpoint.Interrupt{{
			Type: checkpoint.HumanInLoop, ToolName: "shell", ToolArgs: json.RawMessage(`{"cmd":"rm -rf /tmp/x && echo <ok>"}`),
			PolicyNote: "needs a person", CreatedAt: time.Date(2025, 3, 1, 12, 34, 56, 789012345, time.UTC), CallID: "call_1",
		}},
	}
	if got := parse(t, string(golden(t, "snapshot.json"))); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestASnapshotIsStoredAsTheOriginalSystemStoresIt(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := process(t, client)
		data := string(golden(t, "snapshot.json"))
		saved, err := s.SaveSnapshot(t.Context(), "t1", parse(t, data))
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Get(t.Context(), "agents:thread:t1").Val(); got != data {
			t.Errorf("%s", got)
		}
		if !client.SIsMember(t.Context(), "agents:threads", "t1").Val() {
			t.Error("it is not in the set")
		}
		snapshot, version, err := s.LoadSnapshot(t.Context(), "t1")
		if err != nil || version != saved.Version || encode(t, snapshot) != data {
			t.Errorf("%+v, %d, %v", snapshot, version, err)
		}
		snapshot.Files["a.txt"] = "mine"
		if again, _, err := s.LoadSnapshot(t.Context(), "t1"); err != nil || again.Files["a.txt"] == "mine" {
			t.Errorf("a snapshot is shared: %v", err)
		}
		if _, err := s.SaveSnapshotIf(t.Context(), "t1", snapshot, version); err != nil {
			t.Error(err)
		}
		if _, err := s.SaveSnapshotIf(t.Context(), "t1", snapshot, version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("%v", err)
		}
		save(t, s, "t1", "no snapshot")
		_, _, err = s.LoadSnapshot(t.Context(), "t1")
		if _, ok := errors.AsType[*checkpoint.SnapshotError](err); !ok || !errors.Is(err, checkpoint.ErrCorrupt) ||
			!errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if _, _, err := s.LoadSnapshot(t.Context(), "none"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestWhatASnapshotLacksIsEmpty(t *testing.T) {
	for _, data := range []string{
		`{}`, `{"todos":null,"files":null,"scratchpad":null,"pending_interrupts":null}`, ` {"todos" : [ ] } `,
		`{"todos":[],"files":{},"scratchpad":{},"pending_interrupts":[]}`,
	} {
		if got := encode(t, parse(t, data)); got != `{"todos":[],"files":{},"scratchpad":{}}` {
			t.Errorf("%s is %s", data, got)
		}
	}
	got := encode(t, checkpoint.Snapshot{Interrupts: []checkpoint.Interrupt{{Type: checkpoint.HumanInLoop}}})
	if want := `{"todos":[],"files":{},"scratchpad":{},"pending_interrupts":[{"type":"human_in_loop","tool_name":"","tool_args":null,` +
		`"created_at":"0001-01-01T00:00:00Z","call_id":""}]}`; got != want {
		t.Error(got)
	}
}

func TestFaultySnapshotsAreRefusedWithTheField(t *testing.T) {
	const todo = `{"content":"c","status":"pending"}`
	const secret = "hunter2"
	for data, field := range map[string]string{
		`[]`: "", `null`: "", `x`: "", `{} {}`: "", "{\"a\":\"\xff\"}": "",
		`{"todos":{}}`: "todos",
		`{"todos":[` + todo + `,{"status":"pending"}]}`:   "todos[1].content",
		`{"todos":[{"content":"hunter2"}]}`:               "todos[0].status",
		`{"todos":[{"content":1,"status":"pending"}]}`:    "todos[0].content",
		`{"todos":[{"content":"c","status":"hunter2"}]}`:  "todos[0].status",
		`{"todos":[{"content":"c","status":"Pending"}]}`:  "todos[0].status",
		`{"todos":[null]}`:                                "todos[0]",
		`{"files":{"a":1}}`:                               "files",
		`{"files":["hunter2"]}`:                           "files",
		`{"files":{"a":"","b":null}}`:                     "files",
		`{"todos":[{"content":null,"status":"pending"}]}`: "todos[0].content",
		`{"scratchpad":[1]}`:                              "scratchpad",
		`{"pending_interrupts":[{}]}`:                     "pending_interrupts[0].type",
		`{"pending_interrupts":[{"type":"t","tool_name":"n","created_at":"hunter2","call_id":"c"}]}`: "pending_interrupts[0].created_at",
		`{"pending_interrupts":[{"type":"t","tool_name":"n","created_at":null,"call_id":"c"}]}`:      "pending_interrupts[0].created_at",
		`{"pending_interrupts":[{"type":"t","tool_name":"n","created_at":"2025-01-01T00:00:00Z"}]}`:  "pending_interrupts[0].call_id",
	} {
		_, err := checkpoint.ParseSnapshot([]byte(data))
		fault, ok := errors.AsType[*checkpoint.SnapshotError](err)
		if !ok || fault.Field != field || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", data, err, field)
		}
	}
	for name, s := range map[string]checkpoint.Snapshot{
		"status":    {Todos: []checkpoint.Todo{{Content: "c", Status: "done"}}},
		"no status": {Todos: []checkpoint.Todo{{Content: "c"}}},
		"content":   {Todos: []checkpoint.Todo{{Content: "\xff", Status: checkpoint.Pending}}},
		"file":      {Files: map[string]string{"a": "\xff"}},
		"file name": {Files: map[string]string{"\xff": "a"}},
		"json":      {Scratchpad: map[string]json.RawMessage{"hunter2": json.RawMessage("{")}},
		"key":       {Scratchpad: map[string]json.RawMessage{"\xff": json.RawMessage("1")}},
		"args":      {Interrupts: []checkpoint.Interrupt{{ToolArgs: json.RawMessage("hunter2")}}},
		"time":      {Interrupts: []checkpoint.Interrupt{{CreatedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
		"twice":     {Unknown: map[string]json.RawMessage{"todos": json.RawMessage("[]")}},
	} {
		data, err := s.Encode()
		if _, ok := errors.AsType[*checkpoint.SnapshotError](err); !ok || data != nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}})
	bad := checkpoint.Snapshot{Files: map[string]string{"a": "\xff"}}
	_, save := s.SaveSnapshot(t.Context(), "t", bad)
	_, saveIf := s.SaveSnapshotIf(t.Context(), "t", bad, 0)
	if save == nil || saveIf == nil || !absent(t, s, "t") {
		t.Errorf("%v, %v", save, saveIf)
	}
}

// Text cannot hold half a surrogate pair, and encoding/json would put another character there. What stays JSON stays as it is.
func TestHalfASurrogatePairIsRefusedWhereItWouldChange(t *testing.T) {
	for data, field := range map[string]string{
		`{"files":{"a":"x\ud83d"}}`:                            "files",
		`{"files":{"\uDE00":"x"}}`:                             "files",
		`{"files":{"a":"\ud83d\ud83d\ude00"}}`:                 "files",
		`{"todos":[{"content":"\ud83dx","status":"pending"}]}`: "todos[0].content",
		`{"scratchpad":{"\ud83d":1}}`:                          "scratchpad",
		`{"\ud83d":1}`:                                         "",
		`{"a":"\\","\ud83d":1}`:                                "",
	} {
		_, err := checkpoint.ParseSnapshot([]byte(data))
		if e, ok := errors.AsType[*checkpoint.SnapshotError](err); !ok || e.Field != field || !strings.Contains(e.Reason, "surrogate") {
			t.Errorf("%s: %v", data, err)
		}
	}
	for _, data := range []string{
		`{"todos":[],"files":{"a":"😀\\ud83d"},"scratchpad":{"k":"\ud83d"}}`, `{"todos":[],"files":{"a":"\ufffd"},"scratchpad":{},"u":"\ude00"}`,
		`{"todos":[],"files":{},"scratchpad":{"\ufffd":["\ud83d",{"\ud83d":1}]},"u":"\ude00","\ufffd":{"\ud83d":1}}`,
	} {
		if got := encode(t, parse(t, data)); got != strings.ReplaceAll(data, `\ufffd`, "\ufffd") {
			t.Errorf("%s is %s", data, got)
		}
	}
	if got := parse(t, `{"files":{"a":"\ud83d\ude00"}}`).Files["a"]; got != "😀" {
		t.Errorf("%q", got)
	}
}

// The arguments of a tool are a model's, and deeper in the snapshot than they were where they came from.
func TestASnapshotTooDeepToBeReadAgainIsNotSaved(t *testing.T) {
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}})
	for name, test := range map[string]struct {
		above int // the levels around what is nested
		with  func(nested json.RawMessage) checkpoint.Snapshot
	}{
		"scratchpad": {2, func(nested json.RawMessage) checkpoint.Snapshot {
			return checkpoint.Snapshot{Scratchpad: map[string]json.RawMessage{"k": nested}}
		}},
		"tool args": {3, func(nested json.RawMessage) checkpoint.Snapshot {
			return checkpoint.Snapshot{Interrupts: []checkpoint.Interrupt{{Type: checkpoint.HumanInLoop, ToolArgs: nested}}}
		}},
	} {
		nested := func(levels int) checkpoint.Snapshot {
			return test.with(json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels)))
		}
		most := 10_000 - test.above
		if _, err := s.SaveSnapshot(t.Context(), "t", nested(most)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := s.SaveSnapshot(t.Context(), "t", nested(most+1))
		if _, refused := errors.AsType[*checkpoint.SnapshotError](err); !refused {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := s.LoadSnapshot(t.Context(), "t"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMergeTakesKeysFromTheRightAndListsOnlyIfTheyAreNotEmpty(t *testing.T) {
	left := parse(t, `{"todos":[{"content":"l","status":"pending"}],"files":{"a":"l","b":"l"},"scratchpad":{"k":1,"l":[1]},`+
		`"pending_interrupts":[{"type":"human_in_loop","tool_name":"l","tool_args":null,"created_at":"2025-01-01T00:00:00Z","call_id":"l"}],"x":1,"y":1}`)
	before := encode(t, left)
	for right, want := range map[string]string{
		`{}`: before,
		`{"todos":[],"pending_interrupts":[],"files":{"b":"r","c":"r"},"scratchpad":{"k":null},"y":2}`: `{"todos":[{"content":"l","status":"pending"}],` +
			`"files":{"a":"l","b":"r","c":"r"},"scratchpad":{"k":null,"l":[1]},` +
			`"pending_interrupts":[{"type":"human_in_loop","tool_name":"l","tool_args":null,"created_at":"2025-01-01T00:00:00Z","call_id":"l"}],"x":1,"y":2}`,
		`{"todos":[{"content":"r","status":"completed"}],"pending_interrupts":[{"type":"human_in_loop","tool_name":"r","tool_args":1,` +
			`"created_at":"2025-01-01T00:00:00Z","call_id":"r"}]}`: `{"todos":[{"content":"r","status":"completed"}],"files":{"a":"l","b":"l"},"scratchpad":{"k":1,"l":[1]},` +
			`"pending_interrupts":[{"type":"human_in_loop","tool_name":"r","tool_args":1,"created_at":"2025-01-01T00:00:00Z","call_id":"r"}],"x":1,"y":1}`,
	} {
		r := parse(t, right)
		merged := left.Merge(r)
		if got := encode(t, merged); got != want {
			t.Errorf("with %s:\n got %s\nwant %s", right, got, want)
		}
		if merged.Files != nil {
			merged.Files["new"] = "x"
		}
		if encode(t, left) != before {
			t.Error("it changed what it merged")
		}
	}
	if got := encode(t, checkpoint.Snapshot{}.Merge(left)); got != before {
		t.Error(got)
	}
}

func TestASnapshotIsPlainJSONToEncodingJSON(t *testing.T) {
	data, err := json.Marshal(map[string]checkpoint.Snapshot{"s": parse(t, string(golden(t, "unknown.json")))})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]checkpoint.Snapshot
	if err := json.Unmarshal(data, &back); err != nil || encode(t, back["s"]) != string(golden(t, "unknown.json")) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"todos":1}`), new(checkpoint.Snapshot)); err == nil {
		t.Error("no error")
	}
}

func FuzzParseSnapshot(f *testing.F) {
	for _, name := range []string{"snapshot.json", "minimal.json", "unknown.json"} {
		f.Add(golden(f, name))
	}
	f.Add([]byte(`{"todos":[{"content":"\ud800","status":"pending","status":"completed"}],"":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := checkpoint.ParseSnapshot(data)
		if err != nil {
			return
		}
		first, err := s.Encode()
		if err != nil {
			t.Fatalf("%s was read and cannot be written: %v", data, err)
		}
		again, err := checkpoint.ParseSnapshot(first)
		if err != nil {
			t.Fatalf("%s was written and cannot be read: %v", first, err)
		}
		second, err := again.Encode()
		if err != nil || string(second) != string(first) {
			t.Fatalf("%s\n%s\n%v", first, second, err)
		}
	})
}

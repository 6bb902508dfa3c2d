package stores_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores"
	_ "github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/policy"
)

// decide is the README's first piece of code.
func decide(ctx context.Context, databaseURL, redisURL string, agent policy.AgentID) error {
	backend, err := stores.Open(ctx, stores.Config{
		SQL:   stores.SQLConfig{URL: stores.NewSecret(databaseURL)}, // import _ ".../stores/driver/sqlite" or ".../postgres"
		Redis: stores.RedisConfig{URL: stores.NewSecret(redisURL)},
	})
	if err != nil {
		return err
	}
	defer backend.Close(ctx)
	policies := backend.Policies()

	doc, err := policy.ParseDocument([]byte(`{"version":1,"name":"support","rules":[
		{"action_pattern":"tool:crm.*","decision":"Allow"},
		{"action_pattern":"tool:refund","decision":"RequireApproval"}]}`))
	if err != nil {
		return err
	}
	if _, err := policies.Put(ctx, agent, doc); err != nil { // in force everywhere when it returns
		return err
	}
	d, err := policies.Decide(ctx, agent, "tool:crm.read") // from the second time on an L1 hit
	if err != nil {
		return err // the Decision beside an error denies
	}
	if !d.Allowed() {
		return fmt.Errorf("not allowed: %v by rule %d", d.Verdict(), d.Rule())
	}
	fmt.Println(d.Verdict(), "by rule", d.Rule(), "as of version", d.AsOf())
	return nil
}

// User is a record of the README's second piece of code.
type User struct{ Name string }

func loadUser(context.Context, string) (User, error) { return User{Name: "Ada"}, nil }

// users is the README's second piece of code.
func users(ctx context.Context, client redis.UniversalClient) error {
	users, err := readthrough.New(readthrough.Config[string, User]{
		Name:   "users",
		Loader: readthrough.LoaderFunc[string, User](loadUser),
		Redis:  client, // from l2.NewClient; nil: this process alone
	})
	if err != nil {
		return err
	}
	defer users.Close(ctx)
	u, err := users.Get(ctx, "u1")
	if err != nil {
		return err
	}
	fmt.Println(u.Name)
	return nil
}

func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "layercache")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	agent, _ := policy.ParseAgentID("00000000000000000000000000000a1a")
	if err := decide(ctx, "sqlite:"+filepath.Join(dir, "policies.db"), "redis://"+server.Addr(), agent); err != nil {
		fmt.Println(err)
	}
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{server.Addr()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := users(ctx, client); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Allow by rule 0 as of version 1
	// Ada
}

func TestTheCodeOfTheReadmeIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 2 {
		t.Fatalf("the README has %d blocks of Go, want 2", len(blocks))
	}
	for _, b := range blocks {
		var want strings.Builder
		for line := range strings.Lines(b[1]) {
			if strings.TrimSpace(line) != "" {
				line = "\t" + line
			}
			want.WriteString(line)
		}
		if !strings.Contains(string(source), want.String()) {
			t.Errorf("this code of the README is not in the example:\n%s", b[1])
		}
	}
}

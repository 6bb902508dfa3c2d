package l2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestClientsOfEveryModeAreMadeWithoutIO(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  l2.ClientConfig
		kind string
	}{
		"default":    {l2.ClientConfig{}, "*redis.Client"},
		"url":        {l2.ClientConfig{URL: "redis://u:p@127.0.0.1:1/3"}, "*redis.Client"},
		"tls url":    {l2.ClientConfig{URL: "rediss://example.com:1"}, "*redis.Client"},
		"standalone": {l2.ClientConfig{Addrs: []string{"127.0.0.1:1"}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "*redis.Client"},
		"sentinel":   {l2.ClientConfig{Mode: l2.Sentinel, Addrs: []string{"127.0.0.1:1", "127.0.0.1:2"}, MasterName: "m", SentinelPassword: "p"}, "*redis.Client"},
		"cluster":    {l2.ClientConfig{Mode: l2.Cluster, Addrs: []string{"127.0.0.1:1"}}, "*redis.ClusterClient"},
	} {
		client, err := l2.NewClient(c.cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%T", client); got != c.kind {
			t.Errorf("%s: a %s, want a %s", name, got, c.kind)
		}
		s, err := l2.New(l2.Config{Client: client, Namespace: "ns"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if want := map[bool]int{false: 1, true: 16}[name == "cluster"]; s.Partitions() != want {
			t.Errorf("%s: %d partitions, want %d", name, s.Partitions(), want)
		}
		_ = client.Close()
	}
}

func TestClientOptionsAreShortAndNeverRetry(t *testing.T) {
	client, err := l2.NewClient(l2.ClientConfig{URL: "rediss://u:p%40@example.com:1/3", PoolTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	o := client.(*redis.Client).Options()
	if o.Addr != "example.com:1" || o.Username != "u" || o.Password != "p@" || o.DB != 3 || o.TLSConfig == nil ||
		o.PoolSize != 10 || o.DialTimeout != 500*time.Millisecond || o.ReadTimeout != 250*time.Millisecond ||
		o.WriteTimeout != 250*time.Millisecond || o.PoolTimeout != time.Second || !o.ContextTimeoutEnabled ||
		o.MaxRetries != 0 || o.DialerRetries != 1 {
		t.Fatalf("%+v", o)
	}
}

func TestWrongClientConfigsAreRefusedByName(t *testing.T) {
	for want, cfg := range map[string]l2.ClientConfig{
		"URL is not":         {URL: "http://u:s3cret@h"},
		"URL is not a":       {URL: "redis://u:s3cret@h:pört"},
		"URL is not a Redis": {URL: "redis://u:s3\x00cret@h"},
		"without parameters": {URL: "redis://u:s3cret@h:1/0?read_timeout=9s"},
		"PoolSize must be":   {PoolSize: 1 << 40},
		"URL excludes":       {URL: "redis://h", Password: "s3cret"},
		"Mode":               {Mode: 9},
		"PoolSize":           {PoolSize: -1},
		"timeouts":           {ReadTimeout: -1},
		"DB must not":        {DB: -1},
		"MasterName":         {Mode: l2.Sentinel, Addrs: []string{"h:1"}},
		"MasterName and":     {MasterName: "m"},
		"DB must be 0":       {Mode: l2.Cluster, Addrs: []string{"h:1"}, DB: 1},
		"one address":        {Addrs: []string{"h:1", "h:2"}},
		"Addrs is required":  {Mode: l2.Cluster},
		"host:port":          {Addrs: []string{"s3cret"}},
		"Addrs must be host": {Addrs: []string{"s3cret@h:6379"}},
		"a port from 1":      {Mode: l2.Cluster, Addrs: []string{"h:1", "h:99999"}},
		"URL must name":      {URL: "redis://:s3cret@h:65536"},
		"before an '@'":      {Mode: l2.Cluster, Addrs: []string{"h:1", "u:s3cret@h:6379"}},
		"for Username and":   {Mode: l2.Sentinel, MasterName: "m", Addrs: []string{"s3cret@h:26379"}},
	} {
		_, err := l2.NewClient(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v tells the secret", err)
		}
	}
}

// Without a password go-redis drops the user, and the connection would be the default user's.
func TestAUserWithoutAPasswordIsRefused(t *testing.T) {
	sentinels := l2.ClientConfig{Mode: l2.Sentinel, Addrs: []string{"h:1"}, MasterName: "m"}
	one, other := sentinels, sentinels
	one.SentinelUsername = "s3cret"
	other.Username, other.SentinelPassword = "s3cret", "s3cret"
	for _, c := range []struct {
		want string
		cfg  l2.ClientConfig
	}{
		{"ClientConfig.Username needs Password", l2.ClientConfig{Username: "s3cret"}},
		{"ClientConfig.Username needs Password", l2.ClientConfig{Mode: l2.Cluster, Addrs: []string{"h:1"}, Username: "s3cret"}},
		{"ClientConfig.Username needs Password", other},
		{"ClientConfig.SentinelUsername needs SentinelPassword", one},
		{"ClientConfig.URL names a user without a password", l2.ClientConfig{URL: "redis://s3cret@h:1"}},
		{"ClientConfig.URL names a user without a password", l2.ClientConfig{URL: "rediss://s3cret:@h:1/0"}},
	} {
		client, err := l2.NewClient(c.cfg)
		if err == nil {
			t.Errorf("%s: accepted", c.want)
			_ = client.Close()
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// To go-redis these are the local Redis, or another one than they say.
func TestAURLThatNamesNoHostOrSaysMoreIsRefusedAndNotShown(t *testing.T) {
	for _, url := range []string{
		"redis:s3cret:6379", "redis:", "redis://", "redis:///1", "redis://:s3cret@", "redis://:s3cret@/0", "redis://:s3cret@:6379/0",
		"rediss:s3cret", "redis:/s3cret:6379", "redis://:s3cret@h:1?", "redis://:s3cret@h:1/0?db=1", "redis://:s3cret@h:1?protocol=2",
		"redis://:1?s3cret@h:1", "redis://h:1/0#s3cret", "redis://:s3cret@h:1#", "redis://:s3cret@h:1/-1",
	} {
		client, err := l2.NewClient(l2.ClientConfig{URL: url})
		if err == nil {
			t.Errorf("%s: accepted, for %s", url, client.(*redis.Client).Options().Addr)
			_ = client.Close()
			continue
		}
		if !strings.Contains(err.Error(), "ClientConfig.URL is not a Redis URL") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestClientConfigNeverPrintsItsSecrets(t *testing.T) {
	cfg := l2.ClientConfig{
		URL: "redis://u:s3cret@h", Username: "s3cret", Password: "s3cret@:/%", SentinelUsername: "s3cret", SentinelPassword: "s3cret",
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, cfg)
		fmt.Fprintf(&out, verb, &cfg)
		fmt.Fprintf(&out, verb, struct{ C l2.ClientConfig }{cfg})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cfg", cfg, "p", &cfg)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cfg", cfg, "in", struct{ C l2.ClientConfig }{cfg})
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	if s := out.String(); strings.Contains(s, "s3cret") || strings.Contains(s, "733363726574") {
		t.Fatal(s)
	}
}

func TestPlainTextToAnotherMachineIsWarnedAbout(t *testing.T) {
	for _, c := range []struct {
		cfg   l2.ClientConfig
		warns bool
	}{
		{l2.ClientConfig{URL: "redis://u:s3cret@example.com:6380"}, true},
		{l2.ClientConfig{Addrs: []string{"10.0.0.1:6380"}}, true},
		{l2.ClientConfig{Mode: l2.Cluster, Addrs: []string{"127.0.0.1:1", "10.0.0.1:1"}}, true},
		{l2.ClientConfig{URL: "rediss://example.com:6380"}, false},
		{l2.ClientConfig{Addrs: []string{"127.8.0.1:1"}}, false},
		{l2.ClientConfig{Addrs: []string{"[::1]:1"}}, false},
		{l2.ClientConfig{Addrs: []string{"LOCALHOST:1"}}, false},
	} {
		var out bytes.Buffer
		c.cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
		client, err := l2.NewClient(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		if got := out.Len() > 0; got != c.warns || strings.Contains(out.String(), "s3cret") {
			t.Errorf("%v: %q", c.cfg.Addrs, out.String())
		}
	}
}

func TestCallsEndByTheirDeadlineWhenRedisIsSilent(t *testing.T) {
	_, direct := redistest.Mini(t)
	proxy := redistest.NewProxy(t, direct.(*redis.Client).Options().Addr)
	const readTimeout = 20 * time.Second
	patient, err := l2.NewClient(l2.ClientConfig{Addrs: []string{proxy.Addr()}, ReadTimeout: readTimeout})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = patient.Close() }()
	s := newStore(t, patient)
	if err := every(t, s)["get"]; err != nil {
		t.Fatal(err)
	}
	proxy.Blackhole()
	for name, call := range map[string]func(context.Context) error{
		"get": func(ctx context.Context) error {
			_, err := s.Get(ctx, l2.Lookup{ID: newID(t, "k")})
			return err
		},
		"get many": func(ctx context.Context) error {
			_, err := s.GetMany(ctx, []l2.Lookup{{ID: newID(t, "k")}, {ID: newID(t, "l")}})
			return err
		},
		"invalidate": func(ctx context.Context) error {
			_, err := s.Invalidate(ctx, 0, l2.Invalidation{IDs: []l2.ID{newID(t, "k")}})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		took := time.Since(began)
		cancel()
		if err == nil || took > readTimeout/2 {
			t.Errorf("%s: %v after %s", name, err, took)
		}
	}
	s = newStore(t, proxy.Client())
	began := time.Now()
	if _, err := s.Get(t.Context(), l2.Lookup{ID: newID(t, "k")}); err == nil || time.Since(began) > readTimeout/2 {
		t.Errorf("without a deadline: %v after %s", err, time.Since(began))
	}
}

func TestNoScriptIsSentTwiceWhateverTheClientRetries(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: proxy.Addr(), ContextTimeoutEnabled: true, MaxRetries: 3, ReadTimeout: 300 * time.Millisecond,
		PoolSize: 9, PipelinePoolSize: -1,
	})
	defer func() { _ = client.Close() }()
	s := newStore(t, client)
	id := newID(t, "k")
	one := func() error {
		_, err := s.Invalidate(t.Context(), 0, l2.Invalidation{IDs: []l2.ID{id}})
		return err
	}
	many := func() error {
		_, err := s.GetMany(t.Context(), []l2.Lookup{{ID: id}, {ID: id}})
		return err
	}
	if err := errors.Join(one(), many(), many()); err != nil {
		t.Fatal(err)
	}
	// A retry would find an open connection whose greeting was answered long ago.
	var idle []*redis.Conn
	for range 9 {
		conn := client.Conn()
		if err := conn.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	for _, conn := range idle {
		_ = conn.Close()
	}
	watch := server.Client()
	before := redistest.CountCommands(t, watch)
	proxy.BlackholeToClient() // executed, and nobody hears of it
	if one() == nil || many() == nil {
		t.Fatal("want errors")
	}
	if got := redistest.CountCommands(t, watch).Since(before).Scripts(); got != 3 {
		t.Fatalf("the server ran %d scripts, want 3", got)
	}
}

func TestServerThatForgotTheScriptsIsTaughtThem(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "value", 1)
		b.client.ScriptFlush(b.t.Context())
		replies, err := b.GetMany(b.t.Context(), []l2.Lookup{{ID: b.id("k")}, {ID: b.id("l")}, {ID: b.id("k")}})
		if err != nil {
			b.t.Fatal(err)
		}
		for i, want := range []l2.Outcome{l2.Hit, l2.Bare, l2.Hit} {
			if replies[i].Outcome != want || replies[i].Err != nil {
				b.t.Errorf("reply %d: %v, %v", i, replies[i].Outcome, replies[i].Err)
			}
		}
		b.client.ScriptFlush(b.t.Context())
		b.invalidate(1, "k")
	})
}

func TestScriptsRunOnACluster(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	server.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	client, err := l2.NewClient(l2.ClientConfig{Mode: l2.Cluster, Addrs: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	redistest.Eventually(t, replicationTime, "cluster", func() bool {
		info, _ := client.ClusterInfo(t.Context()).Result()
		return strings.Contains(info, "cluster_state:ok")
	})
	s := newStore(t, client)
	lookups := make([]l2.Lookup, 100)
	for i := range lookups {
		lookups[i] = l2.Lookup{ID: newID(t, fmt.Sprintf("{%d}", i)), Nonce: l2.NewNonce()}
	}
	replies, err := s.GetMany(t.Context(), lookups)
	if err != nil {
		t.Fatal(err)
	}
	perPart := map[int][]l2.ID{}
	for i, r := range replies {
		if r.Outcome != l2.Leased || r.Err != nil {
			t.Fatalf("reply %d: %v, %v", i, r.Outcome, r.Err)
		}
		id := lookups[i].ID
		result, err := s.Fill(t.Context(), l2.Fill{
			ID: id, Epoch: r.Position.Epoch, Nonce: lookups[i].Nonce, Envelope: []byte("v"), TTL: time.Minute,
		})
		if err != nil || result != l2.Stored {
			t.Fatalf("fill %d: %v, %v", i, result, err)
		}
		perPart[s.Partition(id.Hash())] = append(perPart[s.Partition(id.Hash())], id)
	}
	if len(perPart) != 16 {
		t.Fatalf("%d partitions were used, want 16", len(perPart))
	}
	for part, ids := range perPart {
		if _, err := s.Invalidate(t.Context(), part, l2.Invalidation{IDs: ids}); err != nil {
			t.Fatalf("partition %d: %v", part, err)
		}
	}
	var renewals []l2.Renewal
	for part := range 16 {
		renewals = append(renewals, l2.Renewal{Store: s, Partition: part, Process: "p"})
	}
	for part, r := range l2.Renew(t.Context(), client, renewals) {
		if r.Err != nil || r.Position.Seq != 1 {
			t.Fatalf("partition %d: %+v", part, r)
		}
	}
}

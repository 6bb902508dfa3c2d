package storetest

import (
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// The backends below the stores, for the conformance suites.

func (b *Backend) PolicyAuthority() policy.Authority     { return policies{b.here} }
func (b *Backend) SessionBackend() session.Backend       { return sessionView{b.here} }
func (b *Backend) RateLimitBackend() ratelimit.Backend   { return limits{b.here} }
func (b *Backend) RegistryBackend() registry.Backend     { return agents{b.here} }
func (b *Backend) CheckpointBackend() checkpoint.Backend { return threads{b.here} }
func (b *Backend) RunLogBackend() runlog.Backend         { return runs{b.here} }

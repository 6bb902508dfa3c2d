package policy_test

import (
	"testing"

	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/storetest"
)

func TestMemoryIsAnAuthority(t *testing.T) {
	storetest.Policies(t, func(testing.TB) policy.Authority { return &policy.Memory{} })
}

func TestSQLiteIsAnAuthority(t *testing.T) {
	storetest.Policies(t, func(t testing.TB) policy.Authority { return inSQLite(t).connect(t) })
}

func TestPostgresIsAnAuthority(t *testing.T) {
	storetest.Policies(t, func(t testing.TB) policy.Authority { return inPostgres(t).connect(t) })
}

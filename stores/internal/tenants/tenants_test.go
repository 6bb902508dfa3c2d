package tenants_test

import (
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/internal/tenants"
)

func TestEachTenantHasOnePartWhoeverAsksFirst(t *testing.T) {
	var of tenants.Of[int]
	made, asked := 0, sync.WaitGroup{}
	for range 8 {
		for _, name := range []string{"", "a", "A"} {
			asked.Go(func() { of.Get(name, func() *int { made++; return new(int) }) })
		}
	}
	asked.Wait()
	if made != 3 || of.Get("a", nil) == of.Get("A", nil) {
		t.Errorf("%d parts for 3 tenants", made)
	}
}

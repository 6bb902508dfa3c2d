package explore_test

import (
	"fmt"

	"github.com/layercache/layercache/invalidation/protocol/explore"
)

// Without serving leases a process that hears nothing answers what it holds for ever. The shortest run shows it.
func ExampleWorld_Explore() {
	world := explore.Worlds(false)[0]
	result := world.Explore(explore.NoServingLease)
	for i, step := range result.Counterexample.Steps {
		fmt.Println(i+1, step)
	}
	fmt.Println(result.Counterexample.Wrong)
	// Output:
	// 1 p1 loads x: L1 holds version 1, L2 version 1
	// 2 p0: commit, version 2
	// 3 the server executes p0's invalidation of version 2: epoch A, seq 1
	// 4 a tick passes
	// I3: p1 is answered version 1 of x from L1, and the invalidation of version 2 was executed B or longer ago
}

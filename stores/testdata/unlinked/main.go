// Command unlinked opens a database without linking its driver, and prints the error.
package main

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/stores"
)

func main() {
	for _, url := range []string{"sqlite:policies.db", "postgres://agents:s3cret@127.0.0.1:1/agents"} {
		_, err := stores.Open(context.Background(), stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(url)}})
		fmt.Println(err)
	}
}

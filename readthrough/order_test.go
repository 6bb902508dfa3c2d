package readthrough_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// A renewal that falls between a look at the entry and a look at the lease would make an entry answerable that the renewal
// has just voided. The window is some nanoseconds, so the order is read off the code instead of being hit by chance.
func TestAHitReadsTheClockThenTheLeaseThenTheEntry(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "get.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "hit" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok {
					calls = append(calls, s.Sel.Name)
				}
			}
			return true
		})
	}
	// Peek finds the partition of a key only; what it saw is judged again by Get.
	if want := []string{"Peek", "Miss", "Now", "Valid", "Get"}; !slices.Equal(calls, want) {
		t.Errorf("hit calls %v, want %v", calls, want)
	}
}

package storetest

import (
	"strings"

	"github.com/layercache/layercache/l2"
)

// alike are ids that a backend may take for one another: one that folds case, trims space, makes one of what looks the same in
// Unicode, or cuts what is long.
func alike() []string {
	ids := []string{"k", "K", " k", "k ", "  k", "\tk", "\u00e9", "e\u0301", "e", "\u00c9", "k\u0130", "ki"}
	for _, length := range []int{32, 64, 128, 191, 255, 256, 512, l2.MaxID - 1} {
		long := strings.Repeat("k", length)
		ids = append(ids, long, long+"l", long+"m")
	}
	return ids
}

// unreadable are ids of bytes that are no text, for the backends that must take them.
func unreadable() []string {
	return []string{"\xff", "\xfe", "?", "\ufffd", "\xff\xff", "k\xff", "k\x00", "\x00k", "\x00"}
}

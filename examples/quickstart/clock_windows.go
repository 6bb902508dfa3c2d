package main

import (
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32         = windows.NewLazySystemDLL("kernel32.dll")
	counter          = kernel32.NewProc("QueryPerformanceCounter")
	counterFrequency = kernel32.NewProc("QueryPerformanceFrequency")

	ticksPerSecond = query(counterFrequency)
)

// now reads the performance counter, which is the same in every process of the machine, in nanoseconds.
func now() int64 {
	high, low := bits.Mul64(uint64(query(counter)), 1e9)
	ns, _ := bits.Div64(high, low, uint64(ticksPerSecond))
	return int64(ns)
}

func query(proc *windows.LazyProc) int64 {
	var value int64
	if ok, _, err := proc.Call(uintptr(unsafe.Pointer(&value))); ok == 0 {
		panic(fmt.Sprintf("%s: %v", proc.Name, err)) // never fails since Windows XP
	}
	return value
}

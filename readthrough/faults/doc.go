// Package faults runs caches on real Redis servers while those fail, and checks every answer: it holds tests only.
//
//	go test -v ./readthrough/faults                                       # some seconds of load for each scenario
//	LAYERCACHE_FAULTS=2m go test -v -timeout 2h ./readthrough/faults      # two minutes
//
// Four caches, each with a client of its own, read eight records without pause, some with tokens and some linearizably, while
// records are written through all of them in turn. Package history judges what they answered. A scenario logs what it
// measured: the stalest answer against the bound that is claimed for it, and the longest Wait.
//
// What needs processes of their own, SIGSTOP and SIGKILL of a client and of a writer, is in the tests of package stores.
package faults

package main

import (
	"testing"
	"time"
)

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 123456: "123,456"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "-", 184: "184 ns", 1500: "1.5 µs", 123456: "123 µs", 12345678: "12.3 ms", 1500 * time.Millisecond: "1.5 s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %s, want %s", d, got, want)
		}
	}
	if got := percent(1, 3, 1) + percent(0, 0, 1); got != "33.3%-" {
		t.Error(got)
	}
}

func TestQuantileIsOfTheSortedSamples(t *testing.T) {
	if got := quantile(nil, 0.5); got != 0 {
		t.Error(got)
	}
	samples := []time.Duration{5, 1, 4, 2, 3}
	if p50, p99 := quantile(samples, 0.5), quantile(samples, 0.99); p50 != 3 || p99 != 5 {
		t.Error(p50, p99)
	}
}

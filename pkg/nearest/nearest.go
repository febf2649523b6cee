// Package nearest promises the known name that an unknown one was most likely
// meant to be, so that an error can say so.
package nearest

import "strings"

// Of returns the candidate that name was most likely meant to be, or ""
// when none is near enough to be worth naming.
func Of(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+2
	for _, candidate := range candidates {
		if d := distance(name, candidate, bestDistance); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best != "" || len(name) < leastPart {
		return best
	}
	for _, candidate := range candidates {
		if strings.Contains(candidate, name) {
			return candidate
		}
	}
	return ""
}

// leastPart is how long a part of a name must be to tell which is meant.
const leastPart = 4

// distance counts the letters to insert, delete or replace to make b of a. It
// gives up at the bound, so that long names cost no more than short ones.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, least := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
			least = min(least, cost)
		}
		if least >= bound {
			return bound
		}
	}
	return min(row[len(b)], bound)
}

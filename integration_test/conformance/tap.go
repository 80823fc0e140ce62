// SPDX-License-Identifier: Apache-2.0

// Package tap stands in for github.com/mndrix/tap-go, which Debian does not have: as much of its
// interface as the OCI validation programs use, writing TAP version 13 to standard output.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the test points of one program.
type T struct {
	count *int
	todo  bool
}

// New makes a T that has counted nothing.
func New() *T { return &T{count: new(int)} }

// Header begins the output; the plan comes first where the number of points is known.
func (t *T) Header(points int) {
	fmt.Println("TAP version 13")
	if points > 0 {
		fmt.Printf("1..%d\n", points)
	}
}

// AutoPlan ends the output with the plan.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.count) }

// Ok is one test point.
func (t *T) Ok(passed bool, description string) {
	directive := ""
	if t.todo {
		directive = " # TODO"
	}
	t.point(passed, description+directive)
}

// Pass is a point that holds.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail is a point that does not hold.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip is as many points as are not looked at.
func (t *T) Skip(points int, description string) {
	for range points {
		t.point(true, "# SKIP "+description)
	}
}

// Todo is the same T, whose points may fail.
func (t *T) Todo() *T { return &T{count: t.count, todo: true} }

// Diagnostic is a comment.
func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

// Diagnosticf is a comment after a format.
func (t *T) Diagnosticf(format string, values ...any) { t.Diagnostic(fmt.Sprintf(format, values...)) }

// YAML tells more about the point before it. JSON is YAML as well.
func (t *T) YAML(message any) error {
	text, err := json.MarshalIndent(message, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}

func (t *T) point(passed bool, description string) {
	*t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	fmt.Printf("%s %d - %s\n", word, *t.count, strings.ReplaceAll(description, "\n", " "))
}

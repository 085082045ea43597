// Adds up numbers: {"numbers": [1, 2]} on stdin gives {"args": [...], "sum": 3} on stdout.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var input struct {
		Numbers []int64 `json:"numbers"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&input); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	output := struct {
		Args []string `json:"args"`
		Sum  int64    `json:"sum"`
	}{Args: os.Args[1:]}
	for _, number := range input.Numbers {
		output.Sum += number
	}
	if err := json.NewEncoder(os.Stdout).Encode(output); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

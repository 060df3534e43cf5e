// SPDX-License-Identifier: Apache-2.0

// Reads profiles as Parca, Alloy and Pyroscope do: with google/pprof's own parser and validator, taken from
// the Go distribution. One line per file: "ok TYPES SAMPLES" or the error.
package main

import (
	"fmt"
	"os"

	"github.com/google/pprof/profile"
)

func main() {
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err == nil {
			var p *profile.Profile
			p, err = profile.ParseData(data)
			if err == nil {
				err = p.CheckValid()
			}
			if err == nil {
				for _, t := range p.SampleType {
					fmt.Printf("%s/%s ", t.Type, t.Unit)
				}
				fmt.Printf("ok %d\n", len(p.Sample))
				continue
			}
		}
		fmt.Println(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// A plain Go program with net/http/pprof: the original that the agent's answers are compared with.
// Prints its base URL; ends when its standard input does.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"sync"
	"time"
)

var sink [][]byte

func work() {
	var mutex sync.Mutex

	for i := 0; ; i++ {
		mutex.Lock()
		go func() {
			time.Sleep(time.Millisecond)
			mutex.Unlock()
		}()
		mutex.Lock()
		mutex.Unlock()
		if i < 1000 {
			sink = append(sink, make([]byte, 10000))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func main() {
	runtime.SetBlockProfileRate(10000)
	runtime.SetMutexProfileFraction(10)
	http.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, runtime.Version())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	go work()
	go http.Serve(listener, nil)
	io.Copy(io.Discard, os.Stdin)
}

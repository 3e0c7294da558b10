// raw makes chat completions over crypto/tls alone, reading into buffers on stacks that move.
//
//	raw [flags] ADDRESS MODEL
//
// Each call has a goroutine and a connection of its own. The buffer is on the goroutine's stack, which has
// to grow inside the first reads, and shrinks while they wait: garbage is collected all the time.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"sync"
	"time"
)

var (
	goroutines = flag.Int("goroutines", 1, "that many at a time")
	calls      = flag.Int("calls", 1, "that many each")
	idle       = flag.Bool("idle", false, "make no calls and wait to be killed")
)

// receive reads all; that the buffer is on the stack is what this program is for, so nothing here may let it
// escape: the connection is no interface.
func receive(conn *tls.Conn, all *bytes.Buffer) error {
	var buffer [700]byte
	for {
		n, err := conn.Read(buffer[:])
		for _, b := range buffer[:n] {
			all.WriteByte(b)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func one(address, model string) error {
	body, err := json.Marshal(map[string]any{
		"model":          model,
		"messages":       []map[string]string{{"role": "user", "content": os.Getenv("STANDIN_PROMPT")}},
		"stream":         true,
		"stream_options": map[string]bool{"include_usage": true},
	})
	if err != nil {
		return err
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: "localhost"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s", os.Getenv("OPENAI_API_KEY"), len(body), body)
	if err != nil {
		return err
	}
	var all bytes.Buffer
	result := make(chan error)
	// A new goroutine, with a small stack.
	go func() { result <- receive(conn, &all) }()
	if err := <-result; err != nil {
		return err
	}
	if !bytes.Contains(all.Bytes(), []byte(`"usage":{`)) {
		return fmt.Errorf("no usage in %q", all.String())
	}
	return nil
}

func main() {
	flag.Parse()
	if *idle {
		time.Sleep(time.Hour)
	}
	go func() {
		for {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}()
	var group sync.WaitGroup
	for number := 0; number < *goroutines; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			for call := 0; call < *calls; call++ {
				if err := one(flag.Arg(0), fmt.Sprintf("%s-%d-%d", flag.Arg(1), number, call)); err != nil {
					log.Fatal(err)
				}
			}
		}(number)
	}
	group.Wait()
	fmt.Println("done")
}

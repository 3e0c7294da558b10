// client makes chat completions with net/http and nothing else: GOROUTINES at a time, CALLS each.
//
//	client [flags] URL MODEL
//
// Every call asks for a model of its own: MODEL, the goroutine's number, the call's number.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

var (
	goroutines = flag.Int("goroutines", 1, "that many at a time")
	calls      = flag.Int("calls", 1, "that many each")
	stream     = flag.Bool("stream", false, "ask for streams")
	protocol   = flag.String("protocol", "HTTP/1.1", "what has to be spoken")
	idle       = flag.Bool("idle", false, "make no calls and wait to be killed")
	deep       = flag.Int("deep", 0, "make each call on a stack that has just grown by that many frames")
)

// descend makes the stack grow before the call, so that it is copied while calls are made.
func descend(frames int, call func() error) error {
	var room [256]byte
	if frames > 0 {
		room[frames%len(room)] = 1
		err := descend(frames-1, call)
		if room[0] > 1 {
			panic("never")
		}
		return err
	}
	return call()
}

func one(client *http.Client, url, model string) error {
	body := map[string]any{
		"model":    model,
		"messages": []map[string]string{{"role": "user", "content": os.Getenv("STANDIN_PROMPT")}},
	}
	if *stream {
		body["stream"] = true
		body["stream_options"] = map[string]bool{"include_usage": true}
	}
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", url+"/v1/chat/completions", bytes.NewReader(sent))
	if err != nil {
		return err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("authorization", "Bearer "+os.Getenv("OPENAI_API_KEY"))
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	received, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != 200 || answer.Proto != *protocol {
		return fmt.Errorf("%s %s: %s", answer.Proto, answer.Status, received)
	}
	if !strings.Contains(string(received), `"usage"`) {
		return errors.New("the answer has no usage")
	}
	return nil
}

func main() {
	flag.Parse()
	if *idle {
		time.Sleep(time.Hour)
	}
	url, model := flag.Arg(0), flag.Arg(1)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = *goroutines
	client := &http.Client{Transport: transport}
	var group sync.WaitGroup
	for number := 0; number < *goroutines; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			for call := 0; call < *calls; call++ {
				name := fmt.Sprintf("%s-%d-%d", model, number, call)
				if err := descend(*deep, func() error { return one(client, url, name) }); err != nil {
					log.Fatal(err)
				}
			}
		}(number)
	}
	group.Wait()
	client.CloseIdleConnections()
	fmt.Println("done")
}

// load exchanges 200-byte messages over crypto/tls with itself, and says how long that takes.
//
// For each line "KIND COUNT" on standard input it opens a connection, makes a few exchanges that are not
// timed, then COUNT more, and answers with nanoseconds an exchange: a write and a read at either end. KIND
// is "llm" for chat completions or "other" for bytes that are no HTTP.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

const size = 200

// warm is how long a connection is used before it is timed: until the watcher has decided about it.
const warm = 500 * time.Millisecond

func configuration() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}},
		InsecureSkipVerify: true,
	}
}

func padded(head, body string) []byte {
	room := size - len(fmt.Sprintf(head, 100)) - len(body)
	body += strings.Repeat(" ", room)
	return []byte(fmt.Sprintf(head, len(body)) + body)
}

func messages(kind string) (request, answer []byte) {
	if kind != "llm" {
		return []byte(strings.Repeat("\x00", size)), []byte(strings.Repeat("\x01", size))
	}
	return padded("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
			`{"model":"m","messages":[]}`),
		padded("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
			`{"object":"chat.completion","usage":{"prompt_tokens":1,"completion_tokens":2}}`)
}

func main() {
	config := configuration()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var kind string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &kind, &count); err != nil {
			log.Fatal(err)
		}
		request, answer := messages(kind)
		go serve(listener, answer)
		conn, err := tls.Dial("tcp", listener.Addr().String(), config)
		if err != nil {
			log.Fatal(err)
		}
		buffer := make([]byte, size)
		exchange := func() {
			if _, err := conn.Write(request); err != nil {
				log.Fatal(err)
			}
			if _, err := io.ReadFull(conn, buffer); err != nil {
				log.Fatal(err)
			}
		}
		for begun := time.Now(); time.Since(begun) < warm; {
			exchange()
		}
		begun := time.Now()
		for n := 0; n < count; n++ {
			exchange()
		}
		fmt.Println(time.Since(begun).Nanoseconds() / int64(count))
		conn.Close()
	}
}

func serve(listener net.Listener, answer []byte) {
	conn, err := listener.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, size)
	for {
		if _, err := io.ReadFull(conn, buffer); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// server ends TLS, HTTP/1.1 and HTTP/2, and hands requests on to a plain HTTP server.
//
//	server CERTIFICATE KEY URL
//
// It says the address that it listens on, and runs until it is killed.
//
//	server -idle
//
// It does nothing until it is killed.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	if os.Args[1] == "-idle" {
		time.Sleep(time.Hour)
	}
	target, err := url.Parse(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	fmt.Println(listener.Addr())
	log.Fatal(http.ServeTLS(listener, proxy, os.Args[1], os.Args[2]))
}

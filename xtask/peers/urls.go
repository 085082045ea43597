// How Go reads the target of a request: net/url's parser, and the decoding and cleaning of routers.
//
// Usage: urls PORT. Answers every request with one line for each reading: the path and the query, in hexadecimal.
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

func pairs(query string) string {
	var pairs []string
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plainName, first := url.QueryUnescape(name)
		plainValue, second := url.QueryUnescape(value)
		if pair == "" || first != nil || second != nil {
			continue
		}
		pairs = append(pairs, plainName+"="+plainValue)
	}
	return strings.Join(pairs, "&")
}

func clean(text string) string {
	cleaned := path.Clean("/" + text)
	if strings.HasSuffix(text, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

func main() {
	handler := func(answer http.ResponseWriter, request *http.Request) {
		raw := request.URL.RawQuery
		readings := [][2]string{
			{request.URL.Path, raw},
			{request.URL.EscapedPath(), pairs(raw)},
			{clean(request.URL.Path), raw},
			{clean(request.URL.EscapedPath()), raw},
		}
		if twice, err := url.PathUnescape(request.URL.Path); err == nil {
			readings = append(readings, [2]string{twice, raw})
		}
		for _, reading := range readings {
			fmt.Fprintf(answer, "%x %x\n", reading[0], reading[1])
		}
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(handler)}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
)

const boundary = "----bench-7MA4YWxkTrZu0gW3q2"

// request is one request in pieces, of which the payload is everybody's.
func (load *loader) request(number int64) net.Buffers {
	switch load.mode {
	case "get":
		return net.Buffers{[]byte(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", load.path, load.host))}
	case "put":
		head := fmt.Sprintf("PUT %s/%s-%d HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n",
			strings.TrimSuffix(load.path, "/"), load.prefix, number, load.host, len(load.payload))
		return net.Buffers{[]byte(head), load.payload}
	case "tus":
		// creation-with-upload: the whole file in the request that announces it.
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Length: %d\r\n"+
			"Content-Type: application/offset+octet-stream\r\nContent-Length: %d\r\n\r\n",
			load.path, load.host, len(load.payload), len(load.payload))
		return net.Buffers{[]byte(head), load.payload}
	default:
		return load.form()
	}
}

func (load *loader) form() net.Buffers {
	part := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + load.field + "\"; " +
		"filename=\"sample.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	headers := ""
	if load.key != "" {
		headers += "X-Api-Key: " + load.key + "\r\n"
	}
	if load.idempotency {
		headers += "Idempotency-Key: " + freshKey() + "\r\n"
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\n"+
		"%sContent-Length: %d\r\n\r\n%s",
		load.path, load.host, boundary, headers, len(part)+len(load.payload)+len(tail), part)
	return net.Buffers{[]byte(head), load.payload, []byte(tail)}
}

func freshKey() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes)
}

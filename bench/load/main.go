// The load generator of the benchmark. It sends one file again and again over kept-alive connections, each
// request as one writev of head, payload and tail, so that the payload is shared and never copied, and the
// machine's cores are left to the server. The result is one JSON object on standard output.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const boundary = "----bench-7MA4YWxkTrZu0gW3q2"

// No request of the benchmark takes nearly as long: a server that hangs shall not hang the benchmark.
const patience = 120 * time.Second

type options struct {
	mode, url, file, key, prefix, statuses string
	uploads, parallel                      int
	idempotency                            bool
}

type result struct {
	Count       int       `json:"count"`
	Errors      int       `json:"errors"`
	FirstError  string    `json:"firstError,omitempty"`
	Seconds     float64   `json:"seconds"`
	CPUSeconds  float64   `json:"cpuSeconds"`
	LatenciesMs []float64 `json:"latenciesMs"`
}

type loader struct {
	options
	host, path string
	payload    []byte
	expected   map[int]bool
	next       atomic.Int64
}

type client struct {
	conn   net.Conn
	reader *bufio.Reader
}

func main() {
	var given options
	flag.StringVar(&given.mode, "mode", "multipart", "multipart: POST a form with the part `file`; put: PUT the bytes")
	flag.StringVar(&given.url, "url", "", "where to; put adds a name of its own for each upload")
	flag.StringVar(&given.file, "file", "", "the file to send")
	flag.StringVar(&given.key, "key", "", "X-Api-Key")
	flag.StringVar(&given.prefix, "prefix", "upload", "put: how names begin")
	flag.StringVar(&given.statuses, "expect", "200", "the statuses that count as success, with commas between")
	flag.IntVar(&given.uploads, "uploads", 1, "how many in all")
	flag.IntVar(&given.parallel, "parallel", 1, "how many at once, each on a connection of its own")
	flag.BoolVar(&given.idempotency, "idempotency", false, "a fresh Idempotency-Key for each upload")
	flag.Parse()
	found, err := run(given)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(given options) (*result, error) {
	target, err := url.Parse(given.url)
	if err != nil {
		return nil, err
	}
	// Never against anything but this machine.
	if ip := net.ParseIP(target.Hostname()); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address", target.Hostname())
	}
	payload, err := os.ReadFile(given.file)
	if err != nil {
		return nil, err
	}
	load := &loader{
		options: given, host: target.Host, path: target.EscapedPath(), payload: payload, expected: map[int]bool{},
	}
	for _, text := range strings.Split(given.statuses, ",") {
		var status int
		if _, err := fmt.Sscanf(text, "%d", &status); err != nil {
			return nil, fmt.Errorf("-expect %s: %w", given.statuses, err)
		}
		load.expected[status] = true
	}
	// Connections are made before the clock starts.
	clients := make([]*client, given.parallel)
	for i := range clients {
		if clients[i], err = load.connect(); err != nil {
			return nil, err
		}
	}
	return load.measure(clients), nil
}

func (load *loader) measure(clients []*client) *result {
	found := &result{LatenciesMs: make([]float64, 0, load.uploads)}
	var lock sync.Mutex
	var all sync.WaitGroup
	cpuBefore, start := cpuSeconds(), time.Now()
	for _, one := range clients {
		all.Add(1)
		go func(one *client) {
			defer all.Done()
			for {
				number := load.next.Add(1)
				if number > int64(load.uploads) {
					break
				}
				begun := time.Now()
				err := load.upload(one, number)
				took := time.Since(begun)
				lock.Lock()
				found.Count++
				if err == nil {
					found.LatenciesMs = append(found.LatenciesMs, float64(took.Microseconds())/1000)
				} else {
					found.Errors++
					if found.FirstError == "" {
						found.FirstError = err.Error()
					}
				}
				lock.Unlock()
			}
			one.conn.Close()
		}(one)
	}
	all.Wait()
	found.Seconds = time.Since(start).Seconds()
	found.CPUSeconds = cpuSeconds() - cpuBefore
	return found
}

func (load *loader) connect() (*client, error) {
	conn, err := net.DialTimeout("tcp", load.host, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, reader: bufio.NewReader(conn)}, nil
}

// upload sends one request and reads its whole answer; after a failure the connection is replaced.
func (load *loader) upload(one *client, number int64) error {
	again, err := load.exchange(one, number)
	if err == nil && again {
		return nil
	}
	one.conn.Close()
	fresh, failed := load.connect()
	if failed == nil {
		*one = *fresh
	} else if err == nil {
		err = failed
	}
	return err
}

func (load *loader) exchange(one *client, number int64) (again bool, err error) {
	if err := one.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	body := load.request(number)
	if _, err := body.WriteTo(one.conn); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(one.reader, nil)
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return false, err
	}
	if !load.expected[answer.StatusCode] {
		return false, fmt.Errorf("status %d: %.300s", answer.StatusCode, text)
	}
	return !answer.Close, nil
}

func (load *loader) request(number int64) net.Buffers {
	if load.mode == "put" {
		head := fmt.Sprintf("PUT %s/%s-%d HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n",
			strings.TrimSuffix(load.path, "/"), load.prefix, number, load.host, len(load.payload))
		return net.Buffers{[]byte(head), load.payload}
	}
	part := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"sample\"\r\n" +
		"Content-Type: application/octet-stream\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	headers := ""
	if load.idempotency {
		headers = "Idempotency-Key: " + freshKey() + "\r\n"
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n"+
		"Content-Type: multipart/form-data; boundary=%s\r\n%sContent-Length: %d\r\n\r\n%s",
		load.path, load.host, load.key, boundary, headers, len(part)+len(load.payload)+len(tail), part)
	return net.Buffers{[]byte(head), load.payload, []byte(tail)}
}

func freshKey() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes)
}

// cpuSeconds is what this process has used, to show that it is not what limits the rate.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

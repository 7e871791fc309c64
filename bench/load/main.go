// The load generator of the benchmark. It sends one file again and again over kept-alive connections, each request as
// one writev of head, payload and tail, so that the payload is shared and never copied; or asks for one file again and
// again, and only counts what comes. So the machine's cores are left to the server. The result is one JSON object on
// standard output.
package main

import (
	"bufio"
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

// No request of the benchmark takes nearly as long: a server that hangs shall not hang the benchmark.
const patience = 120 * time.Second

type options struct {
	mode, url, file, field, key, prefix, statuses string
	requests, parallel                            int
	bodyBytes                                     int64
	idempotency, forever                          bool
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
	ended      atomic.Bool
}

type client struct {
	conn   net.Conn
	reader *bufio.Reader
	buffer []byte
}

func main() {
	var given options
	flag.StringVar(&given.mode, "mode", "multipart", "multipart: POST a form; put: PUT the bytes; tus: POST the bytes; get")
	flag.StringVar(&given.url, "url", "", "where to; put adds a name of its own for each upload")
	flag.StringVar(&given.file, "file", "", "the file to send; none for get")
	flag.StringVar(&given.field, "field", "file", "multipart: the name of the part")
	flag.StringVar(&given.key, "key", "", "X-Api-Key")
	flag.StringVar(&given.prefix, "prefix", "upload", "put: how names begin")
	flag.StringVar(&given.statuses, "expect", "200", "the statuses that count as success, with commas between")
	flag.IntVar(&given.requests, "requests", 1, "how many in all")
	flag.IntVar(&given.parallel, "parallel", 1, "how many at once, each on a connection of its own")
	flag.Int64Var(&given.bodyBytes, "bytes", -1, "how long the body of each answer has to be; -1: any")
	flag.BoolVar(&given.idempotency, "idempotency", false, "a fresh Idempotency-Key for each upload")
	flag.BoolVar(&given.forever, "forever", false, "go on until standard input ends, whatever -requests says")
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
	load := &loader{options: given, host: target.Host, path: target.RequestURI(), expected: map[int]bool{}}
	if given.mode != "get" {
		if load.payload, err = os.ReadFile(given.file); err != nil {
			return nil, err
		}
	}
	for _, text := range strings.Split(given.statuses, ",") {
		var status int
		if _, err := fmt.Sscanf(text, "%d", &status); err != nil {
			return nil, fmt.Errorf("-expect %s: %w", given.statuses, err)
		}
		load.expected[status] = true
	}
	if given.forever {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			load.ended.Store(true)
		}()
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
	found := &result{LatenciesMs: make([]float64, 0, load.requests)}
	var lock sync.Mutex
	var all sync.WaitGroup
	cpuBefore, start := cpuSeconds(), time.Now()
	for _, one := range clients {
		all.Add(1)
		go func(one *client) {
			defer all.Done()
			for {
				number := load.next.Add(1)
				if load.ended.Load() || !load.forever && number > int64(load.requests) {
					break
				}
				begun := time.Now()
				err := load.once(one, number)
				took := time.Since(begun)
				lock.Lock()
				found.add(took, err)
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

func (found *result) add(took time.Duration, err error) {
	found.Count++
	if err == nil {
		found.LatenciesMs = append(found.LatenciesMs, float64(took.Microseconds())/1000)
		return
	}
	found.Errors++
	if found.FirstError == "" {
		found.FirstError = err.Error()
	}
}

func (load *loader) connect() (*client, error) {
	conn, err := net.DialTimeout("tcp", load.host, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, reader: bufio.NewReader(conn), buffer: make([]byte, 256<<10)}, nil
}

// once sends one request and reads its whole answer; after a failure the connection is replaced.
func (load *loader) once(one *client, number int64) error {
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
	request := load.request(number)
	if _, err := request.WriteTo(one.conn); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(one.reader, nil)
	if err != nil {
		return false, err
	}
	begin, length, err := drain(answer.Body, one.buffer)
	if err != nil {
		return false, err
	}
	if !load.expected[answer.StatusCode] {
		return false, fmt.Errorf("status %d: %.300s", answer.StatusCode, begin)
	}
	if load.bodyBytes >= 0 && length != load.bodyBytes {
		return false, fmt.Errorf("%d bytes came, and not %d", length, load.bodyBytes)
	}
	return !answer.Close, nil
}

// drain reads to the end into one buffer: what came first, and how much it was in all.
func drain(body io.Reader, buffer []byte) (begin string, length int64, err error) {
	for {
		n, err := body.Read(buffer)
		if length == 0 && n > 0 {
			begin = string(buffer[:min(n, 300)])
		}
		length += int64(n)
		if err == io.EOF {
			return begin, length, nil
		}
		if err != nil {
			return begin, length, err
		}
	}
}

// cpuSeconds is what this process has used, to show that it is not what limits the rate.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

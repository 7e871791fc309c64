// Uploads as a Go program does: net/http and mime/multipart.
//
// Reads jobs from standard input, one JSON object a line: url, key, path, how ("length" or "chunked").
// Writes for each a line: {"status", "body"} or {"error"}.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"time"
)

type job struct {
	URL  string `json:"url"`
	Key  string `json:"key"`
	Path string `json:"path"`
	How  string `json:"how"`
}

type result struct {
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var one job
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		done, err := upload(one)
		if err != nil {
			done = result{Error: err.Error()}
		}
		text, _ := json.Marshal(done)
		fmt.Println(string(text))
	}
}

func upload(one job) (result, error) {
	body, contentType, err := form(one)
	if err != nil {
		return result{}, err
	}
	request, err := http.NewRequest("POST", one.URL, body)
	if err != nil {
		return result{}, err
	}
	request.Header.Set("x-api-key", one.Key)
	request.Header.Set("Content-Type", contentType)
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return result{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return result{Status: answer.StatusCode, Body: string(text)}, err
}

// A buffer has a length that net/http knows; a pipe has none, so it is sent in chunks.
func form(one job) (io.Reader, string, error) {
	if one.How != "chunked" {
		var buffer bytes.Buffer
		writer := multipart.NewWriter(&buffer)
		return &buffer, writer.FormDataContentType(), write(writer, one.Path)
	}
	reader, pipe := io.Pipe()
	writer := multipart.NewWriter(pipe)
	go func() { pipe.CloseWithError(write(writer, one.Path)) }()
	return reader, writer.FormDataContentType(), nil
}

func write(writer *multipart.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	part, err := writer.CreateFormFile("file", "a.bin")
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, file); err != nil {
		return err
	}
	return writer.Close()
}

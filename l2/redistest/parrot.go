package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// What servers say to a command that they do not know, for Parrot.
const (
	ParrotsRedis = "ERR unknown command '%s', with args beginning with: %s"
	ParrotsOther = "ERR there is no %s for %s here"
)

// Parrot is the address of a server, or of a proxy in front of one, that knows no command: it answers each with refusal, a format
// for the command's name and its arguments. It ends with the test.
func Parrot(t testing.TB, refusal string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: parrot: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go parrot(conn, refusal)
		}
	}()
	return listener.Addr().String()
}

// parrot ends when the client does.
func parrot(conn net.Conn, refusal string) {
	defer func() { _ = conn.Close() }()
	for r := bufio.NewReader(conn); ; {
		words, err := words(r)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(conn, "-"+refusal+"\r\n", words[0], "'"+strings.Join(words[1:], "' '")+"'"); err != nil {
			return
		}
	}
}

// words reads one command.
func words(r *bufio.Reader) ([]string, error) {
	n, err := length(r)
	if err != nil || n == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	all := make([]string, n)
	for i := range all {
		size, err := length(r)
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		all[i] = strings.NewReplacer("\r", " ", "\n", " ").Replace(string(word[:size])) // as Redis does
	}
	return all, nil
}

// length reads the line before an array or a string.
func length(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

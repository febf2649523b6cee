package egress

import (
	"fmt"
	"strings"
)

var kib = strings.Repeat("x", 1024)

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// bodyBeasts send bodies without end, or of another length than they said.
func bodyBeasts() []beast {
	const ok = "HTTP/1.1 200 OK\r\n"
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	return []beast{
		{"body byte by byte", drips(ok+"Content-Length: 100000\r\n\r\n", "x"), Timeout, 200},
		{"chunks byte by byte", drips(chunked, "1\r\nx\r\n"), Timeout, 200},
		{"body that never comes", answers(ok + "Content-Length: 10\r\n\r\n"), Timeout, 200},
		{"body that stops halfway", answers(ok + "Content-Length: 10\r\n\r\nhalf"), Timeout, 200},
		{"body that never ends its chunks", answers(chunked + "4\r\nhalf\r\n"), Timeout, 200},
		{"endless chunks", floods(chunked, "400\r\n"+kib+"\r\n"), "", 200},
		{"endless tiny chunks", floods(chunked, "1\r\nx\r\n"), "", 200},
		{"one endless chunk", floods(chunked+"7fffffffffffffff\r\n", kib), "", 200},
		{"endless body without a length", floods(ok+"\r\n", kib), "", 200},
		{"endless body of HTTP/1.0", floods("HTTP/1.0 200 OK\r\n\r\n", kib), "", 200},
		{"body of 8 EiB", floods(ok+"Content-Length: 9223372036854775807\r\n\r\n", kib), "", 200},
		{"body of 8 EiB that never comes", answers(ok + "Content-Length: 9223372036854775807\r\n\r\n"), Timeout, 200},
		{"body shorter than its length", answersAndCloses(ok + "Content-Length: 10\r\n\r\nhalf"), Closed, 200},
		{"body longer than its length", answers(ok + "Content-Length: 2\r\n\r\nok and more"), "", 200},
		{"204 with a body", answers("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"), "", 204},
		{"204 with half another response", answers("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1"), "", 204},
		{"hangs up in a chunk", answersAndCloses("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf"), Closed, 500},
		{"hangs up between chunks", answersAndCloses("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), Closed, 500},
		{"resets in the body", resets(ok + "Content-Length: 10\r\n\r\nhalf"), Closed, 200},
		{"chunk length that is no number", answers(chunked + "zz\r\n"), Protocol, 200},
		{"chunk length below zero", answers(chunked + "-1\r\nx\r\n"), Protocol, 200},
		{"chunk length beyond 64 bits", answers(chunked + "10000000000000000\r\nx\r\n"), Protocol, 200},
		{"chunk longer than its length", answers(chunked + "2\r\nok and more\r\n0\r\n\r\n"), Protocol, 200},
		{"endless chunk length", floods(chunked, "0"), Protocol, 200},
		{"endless chunk extension", floods(chunked+"1;", "x"), Protocol, 200},
		{"a long extension on each chunk", floods(chunked, fmt.Sprintf("1;%s\r\nx\r\n", kib)), Protocol, 200},
		{"flood of trailers", floods(chunked+"2\r\nok\r\n0\r\n", "X-Flood: "+kib+"\r\n"), Protocol, 200},
		{"one endless trailer", floods(chunked+"2\r\nok\r\n0\r\nX-Flood: ", kib), Protocol, 200},
		{"trailers byte by byte", drips(chunked+"2\r\nok\r\n0\r\nX-Slow: ", "x"), Timeout, 200},
	}
}

// Differential reads request bodies with Go's own encoding/json into structs with the field names of Ollama's API, and
// says what it found. The tests compare that with what the gateway decided.
//
// Standard input:  frames of [1 byte: length of the route's name][name][4 bytes, little endian: length][body].
// Standard output: one line of JSON a frame.
//
// It decodes as Ollama does: one value with json.Decoder, the rest of the body unread, unknown fields ignored.
// It does not: render templates, look at headers, or know which models exist.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"os"
)

// view is what one body means to Ollama.
type view struct {
	// Error tells why the body is refused; nothing else is set then.
	Error string `json:"error"`
	// Model is the name that is run; Name is how the parser of names takes it apart.
	Model string     `json:"model"`
	Name  *nameParts `json:"name"`
	// Stream tells whether frames are answered.
	Stream bool `json:"stream"`
	// Limit is the most tokens that are generated; nil: none was given.
	Limit *int64 `json:"limit"`
	// Said is the conversation, in an order and a form that all dialects share.
	Said []said `json:"said"`
	// Read is every field, with its zero value where the body has none.
	Read any `json:"read"`
}

// said is one turn. Parts are kept apart, so that it can be seen which of them changed.
type said struct {
	Role     string   `json:"role"`
	Parts    []string `json:"parts"`
	Thinking string   `json:"thinking"`
	Images   []string `json:"images"`
	Calls    []called `json:"calls"`
	ToolName string   `json:"tool_name"`
	CallID   string   `json:"call_id"`
}

// called is one call of a tool.
type called struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Arguments orderedMap `json:"arguments"`
}

// readers has a reader a route; the names are those of the gateway's table of endpoints.
var readers = map[string]func([]byte) (view, error){
	"generate":       readGenerate,
	"chat":           readChat,
	"embed":          readEmbed,
	"embeddings":     readEmbeddings,
	"show":           readShow,
	"delete":         readDelete,
	"copy":           readCopy,
	"pull":           readTransfer,
	"push":           readTransfer,
	"create":         readCreate,
	"web-search":     readWebSearch,
	"web-fetch":      readWebFetch,
	"v1-chat":        readChatCompletion,
	"v1-completions": readCompletion,
	"v1-embeddings":  readV1Embeddings,
	"v1-responses":   readResponses,
	"v1-messages":    readMessages,
	"name":           readName,
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		route, body, err := frame(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if err := tell(out, route, body); err != nil {
			log.Fatal(err)
		}
		// Nobody waits while more is here to read.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func frame(in *bufio.Reader) (route string, body []byte, err error) {
	length, err := in.ReadByte()
	if err != nil {
		return "", nil, err
	}
	name := make([]byte, length)
	if _, err = io.ReadFull(in, name); err != nil {
		return "", nil, err
	}
	var size uint32
	if err = binary.Read(in, binary.LittleEndian, &size); err != nil {
		return "", nil, err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(in, body)
	return string(name), body, err
}

func tell(out io.Writer, route string, body []byte) error {
	read, known := readers[route]
	if !known {
		log.Fatalf("no reader for %q", route)
	}
	found, err := read(body)
	if err != nil {
		found = view{Error: err.Error()}
	}
	if found.Model != "" {
		found.Name = takeApart(found.Model)
	}
	line := json.NewEncoder(out)
	line.SetEscapeHTML(false)
	return line.Encode(found)
}

// decode reads as the server's binding does: the first value, whatever follows it.
func decode(body []byte, into any) error {
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}

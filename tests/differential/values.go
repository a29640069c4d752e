package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// orderedMap is an object whose keys keep their order: arguments of calls, properties of tools.
// A key that comes again keeps its place and takes the later value.
type orderedMap struct {
	keys   []string
	values map[string]any
	// property decides whether values are read as properties of a tool, a struct of its own.
	property bool
}

func (m *orderedMap) UnmarshalJSON(data []byte) error {
	m.keys, m.values = nil, map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	open, err := decoder.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return fmt.Errorf("an object was expected, not %v", open)
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		value, err := m.value(decoder)
		if err != nil {
			return err
		}
		name := key.(string)
		if _, known := m.values[name]; !known {
			m.keys = append(m.keys, name)
		}
		m.values[name] = value
	}
	_, err = decoder.Token()
	return err
}

func (m *orderedMap) value(decoder *json.Decoder) (any, error) {
	if m.property {
		var property toolProperty
		err := decoder.Decode(&property)
		return property, err
	}
	var value any
	err := decoder.Decode(&value)
	return value, err
}

func (m orderedMap) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, key := range m.keys {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.values[key])
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// properties is an ordered map of the properties of a tool.
type properties struct{ orderedMap }

func (p *properties) UnmarshalJSON(data []byte) error {
	p.property = true
	return p.orderedMap.UnmarshalJSON(data)
}

// oneOrMore is a word or a list of words.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	var more []string
	err := json.Unmarshal(data, &more)
	*o = more
	return err
}

// thinking is a flag or a level.
type thinking struct{ value any }

func (t *thinking) UnmarshalJSON(data []byte) error {
	var flag bool
	if json.Unmarshal(data, &flag) == nil {
		t.value = flag
		return nil
	}
	var level string
	if json.Unmarshal(data, &level) != nil {
		return errors.New("think is neither a flag nor a level")
	}
	switch level {
	case "high", "medium", "low", "max":
		t.value = level
		return nil
	}
	return fmt.Errorf("think has no level %q", level)
}

func (t thinking) MarshalJSON() ([]byte, error) { return json.Marshal(t.value) }

// lifetime is how long a model stays: seconds, or a duration in words; less than nothing is for ever.
type lifetime time.Duration

func (l *lifetime) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	var length time.Duration
	switch value := value.(type) {
	case float64:
		length = time.Duration(value * float64(time.Second))
		if value < 0 {
			length = math.MaxInt64
		}
	case string:
		parsed, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		length = parsed
		if parsed < 0 {
			length = math.MaxInt64
		}
	default:
		return fmt.Errorf("keep_alive is a %T", value)
	}
	*l = lifetime(length)
	return nil
}

// kinds of the options that the server knows. Its map is read by exact key.
var optionKinds = map[string]string{
	"num_keep": "int", "seed": "int", "num_predict": "int", "top_k": "int", "repeat_last_n": "int",
	"num_ctx": "int", "num_batch": "int", "num_gpu": "int", "main_gpu": "int", "num_thread": "int",
	"draft_num_predict": "int", "use_mmap": "bool", "stop": "words",
	"top_p": "float", "min_p": "float", "typical_p": "float", "temperature": "float", "repeat_penalty": "float",
	"presence_penalty": "float", "frequency_penalty": "float",
}

// checkOptions tells whether the server could use the options.
func checkOptions(options map[string]any) error {
	for key, value := range options {
		kind, known := optionKinds[key]
		if known && value != nil && !isOfKind(kind, value) {
			return fmt.Errorf("option %q is no %s", key, kind)
		}
	}
	return nil
}

func isOfKind(kind string, value any) bool {
	switch value := value.(type) {
	case float64:
		return kind == "int" || kind == "float"
	case bool:
		return kind == "bool"
	case []any:
		for _, word := range value {
			if _, ok := word.(string); !ok {
				return false
			}
		}
		return kind == "words"
	}
	return false
}

// limitOf is the option that bounds an answer.
func limitOf(options map[string]any) *int64 {
	number, ok := options["num_predict"].(float64)
	if !ok {
		return nil
	}
	limit := int64(number)
	return &limit
}

func fixedLimit(limit *int) *int64 {
	if limit == nil {
		return nil
	}
	wide := int64(*limit)
	return &wide
}

func digest(image []byte) string {
	sum := sha256.Sum256(image)
	return hex.EncodeToString(sum[:])
}

// imageOfURL reads "data:image/png;base64,…". Anything else would be fetched, or is refused.
func imageOfURL(url string) (string, error) {
	head, data, found := strings.Cut(url, ",")
	if !found || !strings.HasPrefix(head, "data:") || !strings.HasSuffix(head, ";base64") {
		return "", errors.New("an image that is no data URL")
	}
	return imageOfBase64(data)
}

func imageOfBase64(data string) (string, error) {
	image, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return "", err
	}
	return digest(image), nil
}

func argumentsOf(text string) (orderedMap, error) {
	var arguments orderedMap
	err := json.Unmarshal([]byte(text), &arguments)
	return arguments, err
}

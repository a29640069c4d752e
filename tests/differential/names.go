package main

import (
	"errors"
	"strings"
)

// How Ollama takes the name of a model apart: internal/modelref, then types/model. The rules are those of the
// gateway's src/ollama/model_name.rs, written a second time from their description.

// nameParts is a name with its defaults filled in, in lower case.
type nameParts struct {
	Valid bool `json:"valid"`
	// Full is host/namespace/model:tag.
	Full string `json:"full"`
	// Source is "", "local" or "cloud".
	Source string `json:"source"`
	// Foreign tells whether the host is not Ollama's own registry.
	Foreign bool `json:"foreign"`
}

const (
	ownHost      = "registry.ollama.ai"
	ownNamespace = "library"
	latest       = "latest"
)

// readName: the body is the name.
func readName(body []byte) (view, error) {
	if len(body) == 0 {
		return view{}, errors.New("no name")
	}
	return view{Model: string(body)}, nil
}

func takeApart(raw string) *nameParts {
	raw = strings.TrimSpace(raw)
	base, source := withoutSource(raw)
	if source != "" {
		if _, again := withoutSource(base); again != "" {
			return &nameParts{}
		}
	}
	host, namespace, model, tag, ok := split(base)
	ok = ok && part(host, 350, ".:") && part(namespace, 80, "") && part(model, 80, ".") && part(tag, 80, ".")
	if !ok {
		return &nameParts{}
	}
	full := strings.ToLower(host + "/" + namespace + "/" + model + ":" + tag)
	return &nameParts{Valid: true, Full: full, Source: source, Foreign: !strings.EqualFold(host, ownHost)}
}

// withoutSource takes ":cloud", ":local" or "-cloud" off the end.
func withoutSource(raw string) (base, source string) {
	colon := strings.LastIndexByte(raw, ':')
	if colon < 0 {
		return raw, ""
	}
	suffix := strings.TrimSpace(raw[colon+1:])
	lower := strings.ToLower(suffix)
	switch {
	case lower == "cloud" || lower == "local":
		return raw[:colon], lower
	case strings.HasSuffix(lower, "-cloud") && !strings.Contains(suffix, "/"):
		return raw[:colon+1] + suffix[:len(suffix)-len("-cloud")], "cloud"
	}
	return raw, ""
}

// split cuts from the end: what a separator promises must be there, what is not promised has a default.
func split(text string) (host, namespace, model, tag string, ok bool) {
	host, namespace, tag = ownHost, ownNamespace, latest
	if colon := strings.LastIndexByte(text, ':'); colon > strings.LastIndexByte(text, '/') {
		text, tag = text[:colon], text[colon+1:]
		if text == "" || tag == "" {
			return "", "", "", "", false
		}
	}
	text, model, more := cutLast(text)
	if !more {
		return host, namespace, model, tag, model != ""
	}
	text, namespace, more = cutLast(text)
	if !more {
		return host, namespace, model, tag, namespace != "" && model != ""
	}
	host = text
	if _, after, found := strings.Cut(text, "://"); found {
		host = after
	}
	if host == "" && text != "" {
		host = ownHost // an empty host after a scheme takes the default
	}
	return host, namespace, model, tag, host != "" && namespace != "" && model != ""
}

func cutLast(text string) (before, after string, found bool) {
	slash := strings.LastIndexByte(text, '/')
	if slash < 0 {
		return "", text, false
	}
	return text[:slash], text[slash+1:], true
}

func part(text string, longest int, also string) bool {
	if len(text) == 0 || len(text) > longest {
		return false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		word := c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !word && (i == 0 || c != '-' && strings.IndexByte(also, c) < 0) {
			return false
		}
	}
	return true
}

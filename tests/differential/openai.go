package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The bodies of /v1/chat/completions, /v1/completions and /v1/embeddings.

type chatCompletionRequest struct {
	Model          string           `json:"model"`
	Messages       []openaiMessage  `json:"messages"`
	Stream         bool             `json:"stream"`
	StreamOptions  *streamOptions   `json:"stream_options"`
	MaxTokens      *int             `json:"max_tokens"`
	Seed           *int             `json:"seed"`
	Stop           any              `json:"stop"`
	Temperature    *float64         `json:"temperature"`
	Frequency      *float64         `json:"frequency_penalty"`
	Presence       *float64         `json:"presence_penalty"`
	TopP           *float64         `json:"top_p"`
	ResponseFormat *openaiFormat    `json:"response_format"`
	Tools          []tool           `json:"tools"`
	Reasoning      *openaiReasoning `json:"reasoning"`
	Effort         *string          `json:"reasoning_effort"`
	Logprobs       *bool            `json:"logprobs"`
	TopLogprobs    int              `json:"top_logprobs"`
	DebugRender    bool             `json:"_debug_render_only"`
}

// openaiMessage has no reader of its own: a second list of messages is read over the elements of the first.
type openaiMessage struct {
	Role       string       `json:"role"`
	Content    any          `json:"content"`
	Reasoning  string       `json:"reasoning"`
	ToolCalls  []openaiCall `json:"tool_calls"`
	Name       string       `json:"name"`
	ToolCallID string       `json:"tool_call_id"`
}

type openaiCall struct {
	ID       string `json:"id"`
	Index    int    `json:"index"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type openaiReasoning struct {
	Effort string `json:"effort"`
}

type openaiFormat struct {
	Type       string `json:"type"`
	JSONSchema *struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

func readChatCompletion(body []byte) (view, error) {
	var request chatCompletionRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	if len(request.Messages) == 0 {
		return view{}, errors.New("no messages")
	}
	var turns []said
	for _, message := range request.Messages {
		turn, err := openaiTurn(message)
		if err != nil {
			return view{}, err
		}
		turns = append(turns, turn)
	}
	effort := ""
	if request.Reasoning != nil {
		effort = request.Reasoning.Effort
	} else if request.Effort != nil {
		effort = *request.Effort
	}
	return view{
		Model: request.Model, Stream: request.Stream, Limit: fixedLimit(request.MaxTokens), Said: turns, Read: request,
	}, checkEffort(effort)
}

func checkEffort(effort string) error {
	switch effort {
	case "", "none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra":
		return nil
	}
	return fmt.Errorf("no effort %q", effort)
}

func openaiTurn(message openaiMessage) (said, error) {
	turn := said{
		Role: strings.ToLower(message.Role), Thinking: message.Reasoning, ToolName: message.Name, CallID: message.ToolCallID,
	}
	for _, call := range message.ToolCalls {
		arguments, err := argumentsOf(call.Function.Arguments)
		if err != nil {
			return turn, err
		}
		turn.Calls = append(turn.Calls, called{call.ID, call.Function.Name, arguments})
	}
	switch content := message.Content.(type) {
	case string:
		turn.Parts = []string{content}
	case []any:
		for _, part := range content {
			if err := openaiPart(&turn, part); err != nil {
				return turn, err
			}
		}
	default:
		if message.ToolCalls == nil {
			return turn, errors.New("no content")
		}
	}
	return turn, nil
}

// openaiPart reads a part as a map: its names are compared exactly.
func openaiPart(turn *said, part any) error {
	fields, ok := part.(map[string]any)
	if !ok {
		return errors.New("a part that is no object")
	}
	switch fields["type"] {
	case "text":
		text, ok := fields["text"].(string)
		if !ok {
			return errors.New("a part without its text")
		}
		turn.Parts = append(turn.Parts, text)
		return nil
	case "image_url":
		url, ok := fields["image_url"].(string)
		if inner, isObject := fields["image_url"].(map[string]any); isObject {
			url, ok = inner["url"].(string)
		}
		if !ok {
			return errors.New("a part without its image")
		}
		image, err := imageOfURL(url)
		turn.Images = append(turn.Images, image)
		return err
	}
	return errors.New("a part of another type")
}

type completionRequest struct {
	Model         string         `json:"model"`
	Prompt        string         `json:"prompt"`
	Frequency     float32        `json:"frequency_penalty"`
	MaxTokens     *int           `json:"max_tokens"`
	Presence      float32        `json:"presence_penalty"`
	Seed          *int           `json:"seed"`
	Stop          any            `json:"stop"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options"`
	Temperature   *float32       `json:"temperature"`
	TopP          float32        `json:"top_p"`
	Suffix        string         `json:"suffix"`
	Logprobs      *int           `json:"logprobs"`
	DebugRender   bool           `json:"_debug_render_only"`
}

func readCompletion(body []byte) (view, error) {
	var request completionRequest
	err := decode(body, &request)
	turns := []said{{Role: "user", Parts: []string{request.Prompt}}}
	return view{
		Model: request.Model, Stream: request.Stream, Limit: fixedLimit(request.MaxTokens), Said: turns, Read: request,
	}, err
}

type v1EmbeddingsRequest struct {
	Input      any    `json:"input"`
	Model      string `json:"model"`
	Dimensions int    `json:"dimensions"`
	Encoding   string `json:"encoding_format"`
}

func readV1Embeddings(body []byte) (view, error) {
	var request v1EmbeddingsRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	turns, err := inputs(request.Input)
	return view{Model: request.Model, Said: turns, Read: request}, err
}

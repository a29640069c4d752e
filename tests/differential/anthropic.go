package main

import (
	"encoding/json"
	"errors"
	"strings"
)

// The body of /v1/messages.

type messagesRequest struct {
	Model       string           `json:"model"`
	MaxTokens   int              `json:"max_tokens"`
	Messages    []anthropicTurn  `json:"messages"`
	System      any              `json:"system"`
	Stream      bool             `json:"stream"`
	Temperature *float64         `json:"temperature"`
	TopP        *float64         `json:"top_p"`
	TopK        *int             `json:"top_k"`
	Stop        []string         `json:"stop_sequences"`
	Tools       []anthropicTool  `json:"tools"`
	ToolChoice  *anthropicChoice `json:"tool_choice"`
	Thinking    *struct {
		Type   string `json:"type"`
		Budget int    `json:"budget_tokens"`
	} `json:"thinking"`
	Metadata *struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
	Output *struct {
		Effort string `json:"effort"`
	} `json:"output_config"`
}

type anthropicChoice struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	Parallel bool   `json:"disable_parallel_tool_use"`
}

type anthropicTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
	MaxUses     int             `json:"max_uses"`
}

// anthropicTurn takes a plain text for one block of text.
type anthropicTurn struct {
	Role    string           `json:"role"`
	Content []anthropicBlock `json:"content"`
}

func (t *anthropicTurn) UnmarshalJSON(data []byte) error {
	var raw struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	t.Role = raw.Role
	var text string
	if json.Unmarshal(raw.Content, &text) == nil {
		t.Content = []anthropicBlock{{Type: "text", Text: &text}}
		return nil
	}
	return json.Unmarshal(raw.Content, &t.Content)
}

type anthropicBlock struct {
	Type      string            `json:"type"`
	Text      *string           `json:"text"`
	Citations []json.RawMessage `json:"citations"`
	Source    *anthropicSource  `json:"source"`
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Input     orderedMap        `json:"input"`
	ToolUseID string            `json:"tool_use_id"`
	Content   any               `json:"content"`
	IsError   bool              `json:"is_error"`
	Thinking  *string           `json:"thinking"`
	Signature string            `json:"signature"`
}

type anthropicSource struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type"`
	Data      string `json:"data"`
	URL       string `json:"url"`
}

func readMessages(body []byte) (view, error) {
	var request messagesRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	if request.MaxTokens <= 0 || len(request.Messages) == 0 {
		return view{}, errors.New("max_tokens or messages are missing")
	}
	var turns []said
	if system := anthropicSystem(request.System); len(system) > 0 {
		turns = append(turns, said{Role: "system", Parts: system})
	}
	for _, message := range request.Messages {
		turn := said{Role: strings.ToLower(message.Role)}
		var results []said
		for _, block := range message.Content {
			result, err := anthropicContent(&turn, block)
			if err != nil {
				return view{}, err
			}
			results = append(results, result...)
		}
		turns = append(append(turns, results...), turn)
	}
	for _, tool := range request.Tools {
		var parameters toolParameters
		if len(tool.InputSchema) > 0 {
			if err := json.Unmarshal(tool.InputSchema, &parameters); err != nil {
				return view{}, err
			}
		}
	}
	limit := request.MaxTokens
	return view{
		Model: request.Model, Stream: request.Stream, Limit: fixedLimit(&limit), Said: turns, Read: request,
	}, nil
}

// anthropicSystem is a text, or blocks that are read as maps.
func anthropicSystem(system any) []string {
	var parts []string
	switch system := system.(type) {
	case string:
		if system != "" {
			parts = []string{system}
		}
	case []any:
		for _, block := range system {
			fields, _ := block.(map[string]any)
			if text, ok := fields["text"].(string); ok && fields["type"] == "text" {
				parts = append(parts, text)
			}
		}
	}
	return parts
}

// anthropicContent adds a block to a turn; the result of a tool is a turn of its own.
func anthropicContent(turn *said, block anthropicBlock) ([]said, error) {
	switch block.Type {
	case "text":
		if block.Text != nil {
			turn.Parts = append(turn.Parts, *block.Text)
		}
	case "image":
		if block.Source == nil {
			return nil, errors.New("no source")
		}
		image, err := anthropicImage(block.Source.Type, block.Source.Data)
		turn.Images = append(turn.Images, image)
		return nil, err
	case "tool_use", "server_tool_use":
		if block.ID == "" || block.Name == "" {
			return nil, errors.New("a call without id or name")
		}
		turn.Calls = append(turn.Calls, called{block.ID, block.Name, block.Input})
	case "tool_result":
		return toolResult(block)
	case "web_search_tool_result":
		return []said{{Role: "tool", CallID: block.ToolUseID}}, nil
	case "thinking":
		if block.Thinking != nil {
			turn.Thinking = *block.Thinking
		}
	}
	return nil, nil
}

func anthropicImage(kind, data string) (string, error) {
	if kind != "base64" {
		return "", errors.New("an image that is elsewhere")
	}
	return imageOfBase64(data)
}

// toolResult reads the content as text or as a list of maps.
func toolResult(block anthropicBlock) ([]said, error) {
	result := said{Role: "tool", CallID: block.ToolUseID}
	switch content := block.Content.(type) {
	case string:
		result.Parts = []string{content}
	case []any:
		for _, part := range content {
			fields, _ := part.(map[string]any)
			switch fields["type"] {
			case "text":
				if text, ok := fields["text"].(string); ok {
					result.Parts = append(result.Parts, text)
				}
			case "image":
				source, _ := fields["source"].(map[string]any)
				kind, _ := source["type"].(string)
				data, _ := source["data"].(string)
				image, err := anthropicImage(kind, data)
				if err != nil {
					return nil, err
				}
				result.Images = append(result.Images, image)
			}
		}
	}
	return []said{result}, nil
}

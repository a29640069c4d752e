package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The body of /v1/responses, whose input is a text or a list of items of several types. An item's type is looked at
// first, then the item is read again as that type.

type responsesRequest struct {
	Model        string          `json:"model"`
	Background   bool            `json:"background"`
	Conversation json.RawMessage `json:"conversation"`
	Include      []string        `json:"include"`
	Input        responsesInput  `json:"input"`
	Instructions string          `json:"instructions"`
	MaxOutput    *int            `json:"max_output_tokens"`
	Reasoning    struct {
		Effort          string `json:"effort"`
		GenerateSummary string `json:"generate_summary"`
		Summary         string `json:"summary"`
	} `json:"reasoning"`
	Temperature *float64 `json:"temperature"`
	Text        *struct {
		Format *struct {
			Type   string          `json:"type"`
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
			Strict *bool           `json:"strict"`
		} `json:"format"`
	} `json:"text"`
	TopP       *float64        `json:"top_p"`
	Truncation *string         `json:"truncation"`
	Tools      []responsesTool `json:"tools"`
	Stream     *bool           `json:"stream"`
}

type responsesTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description *string         `json:"description"`
	Strict      *bool           `json:"strict"`
	Parameters  map[string]any  `json:"parameters"`
	Tools       []responsesTool `json:"tools"`
}

// responsesInput keeps what it was read from, and the turns in it.
type responsesInput struct {
	raw   json.RawMessage
	turns []said
}

func (r responsesInput) MarshalJSON() ([]byte, error) {
	if r.raw == nil {
		return []byte("null"), nil
	}
	return r.raw, nil
}

func (r *responsesInput) UnmarshalJSON(data []byte) error {
	r.raw = append(json.RawMessage(nil), data...)
	r.turns = nil
	var text string
	if json.Unmarshal(data, &text) == nil {
		r.turns = []said{{Role: "user", Parts: []string{text}}}
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return err
	}
	for _, item := range items {
		turn, err := responsesTurn(item)
		if err != nil {
			return err
		}
		r.turns = append(r.turns, turn)
	}
	return nil
}

func responsesTurn(item json.RawMessage) (said, error) {
	var head struct {
		Type string `json:"type"`
		Role string `json:"role"`
	}
	if err := json.Unmarshal(item, &head); err != nil {
		return said{}, err
	}
	if head.Type == "" && head.Role != "" {
		head.Type = "message"
	}
	switch head.Type {
	case "message":
		return responsesMessage(item)
	case "function_call":
		return responsesCall(item)
	case "function_call_output":
		return responsesOutput(item)
	case "reasoning":
		return responsesReasoning(item)
	}
	return said{}, fmt.Errorf("no item of type %q", head.Type)
}

func responsesMessage(item json.RawMessage) (said, error) {
	var message struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(item, &message); err != nil {
		return said{}, err
	}
	turn := said{Role: strings.ToLower(message.Role)}
	err := responsesContent(&turn, message.Content)
	return turn, err
}

func responsesCall(item json.RawMessage) (said, error) {
	var call struct {
		CallID    string `json:"call_id"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	}
	if err := json.Unmarshal(item, &call); err != nil {
		return said{}, err
	}
	var arguments orderedMap
	if call.Arguments != "" {
		var err error
		if arguments, err = argumentsOf(call.Arguments); err != nil {
			return said{}, err
		}
	}
	return said{Role: "assistant", Calls: []called{{call.CallID, call.Name, arguments}}}, nil
}

func responsesOutput(item json.RawMessage) (said, error) {
	var output struct {
		CallID string          `json:"call_id"`
		Output json.RawMessage `json:"output"`
	}
	if err := json.Unmarshal(item, &output); err != nil {
		return said{}, err
	}
	turn := said{Role: "tool", CallID: output.CallID}
	err := responsesContent(&turn, output.Output)
	return turn, err
}

func responsesReasoning(item json.RawMessage) (said, error) {
	var reasoning struct {
		Summary []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		} `json:"summary"`
		Encrypted string `json:"encrypted_content"`
	}
	err := json.Unmarshal(item, &reasoning)
	return said{Role: "assistant", Thinking: reasoning.Encrypted}, err
}

// responsesContent reads a text, or a list of parts.
func responsesContent(turn *said, content json.RawMessage) error {
	if len(content) == 0 {
		return nil
	}
	var text string
	if json.Unmarshal(content, &text) == nil {
		turn.Parts = []string{text}
		return nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(content, &parts); err != nil {
		return err
	}
	for _, raw := range parts {
		var part struct {
			Type     string `json:"type"`
			Text     string `json:"text"`
			ImageURL string `json:"image_url"`
			FileID   string `json:"file_id"`
		}
		if err := json.Unmarshal(raw, &part); err != nil {
			return err
		}
		switch part.Type {
		case "input_text", "output_text":
			turn.Parts = append(turn.Parts, part.Text)
		case "input_image":
			image, err := imageOfURL(part.ImageURL)
			if err != nil || part.FileID != "" {
				return errors.New("an image that is elsewhere")
			}
			turn.Images = append(turn.Images, image)
		default:
			return fmt.Errorf("no part of type %q", part.Type)
		}
	}
	return nil
}

func readResponses(body []byte) (view, error) {
	var request responsesRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	turns := request.Input.turns
	if request.Instructions != "" {
		turns = append([]said{{Role: "system", Parts: []string{request.Instructions}}}, turns...)
	}
	if err := checkResponsesTools(request.Tools); err != nil {
		return view{}, err
	}
	return view{
		Model: request.Model, Stream: request.Stream != nil && *request.Stream, Limit: fixedLimit(request.MaxOutput),
		Said: turns, Read: request,
	}, checkEffort(request.Reasoning.Effort)
}

// checkResponsesTools reads the parameters again as those of a tool, as the server does.
func checkResponsesTools(tools []responsesTool) error {
	for _, tool := range tools {
		parameters, err := json.Marshal(tool.Parameters)
		if err != nil {
			return err
		}
		var read toolParameters
		if err := json.Unmarshal(parameters, &read); err != nil {
			return err
		}
		if err := checkResponsesTools(tool.Tools); err != nil {
			return err
		}
	}
	return nil
}

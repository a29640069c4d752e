package main

import (
	"encoding/json"
	"errors"
	"strings"
)

// The bodies of /api/*. Names and types: Ollama's api/types.go, as threats.md §1.1 lists them.

type generateRequest struct {
	Model       string          `json:"model"`
	Prompt      string          `json:"prompt"`
	Suffix      string          `json:"suffix"`
	System      string          `json:"system"`
	Template    string          `json:"template"`
	Context     []int           `json:"context"`
	Stream      *bool           `json:"stream"`
	Raw         bool            `json:"raw"`
	Format      json.RawMessage `json:"format"`
	KeepAlive   *lifetime       `json:"keep_alive"`
	Images      [][]byte        `json:"images"`
	Options     map[string]any  `json:"options"`
	Think       *thinking       `json:"think"`
	Truncate    *bool           `json:"truncate"`
	Shift       *bool           `json:"shift"`
	DebugRender bool            `json:"_debug_render_only"`
	Logprobs    bool            `json:"logprobs"`
	TopLogprobs int             `json:"top_logprobs"`
}

type chatRequest struct {
	Model       string          `json:"model"`
	Messages    []message       `json:"messages"`
	Stream      *bool           `json:"stream"`
	Format      json.RawMessage `json:"format"`
	KeepAlive   *lifetime       `json:"keep_alive"`
	Tools       []tool          `json:"tools"`
	Options     map[string]any  `json:"options"`
	Think       *thinking       `json:"think"`
	Truncate    *bool           `json:"truncate"`
	Shift       *bool           `json:"shift"`
	DebugRender bool            `json:"_debug_render_only"`
	Logprobs    bool            `json:"logprobs"`
	TopLogprobs int             `json:"top_logprobs"`
}

// message has a reader of its own in Ollama, which makes its role lower-case. Since it reads into a fresh value, a
// second list of messages does not inherit from the first, other than in the OpenAI dialect.
type message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	Thinking   string     `json:"thinking"`
	Images     [][]byte   `json:"images"`
	ToolCalls  []toolCall `json:"tool_calls"`
	ToolName   string     `json:"tool_name"`
	ToolCallID string     `json:"tool_call_id"`
}

func (m *message) UnmarshalJSON(data []byte) error {
	type plain message
	var fresh plain
	if err := json.Unmarshal(data, &fresh); err != nil {
		return err
	}
	*m = message(fresh)
	m.Role = strings.ToLower(m.Role)
	return nil
}

type toolCall struct {
	ID       string `json:"id"`
	Function struct {
		Index     int        `json:"index"`
		Name      string     `json:"name"`
		Arguments orderedMap `json:"arguments"`
	} `json:"function"`
}

type tool struct {
	Type     string `json:"type"`
	Items    any    `json:"items"`
	Function struct {
		Name        string         `json:"name"`
		Description string         `json:"description"`
		Parameters  toolParameters `json:"parameters"`
	} `json:"function"`
}

type toolParameters struct {
	Type       string      `json:"type"`
	Defs       any         `json:"$defs"`
	Items      any         `json:"items"`
	Required   []string    `json:"required"`
	Properties *properties `json:"properties"`
}

type toolProperty struct {
	AnyOf       []toolProperty `json:"anyOf"`
	Type        oneOrMore      `json:"type"`
	Items       any            `json:"items"`
	Description string         `json:"description"`
	Enum        []any          `json:"enum"`
	Properties  *properties    `json:"properties"`
	Required    []string       `json:"required"`
}

func readGenerate(body []byte) (view, error) {
	var request generateRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	if err := checkOptions(request.Options); err != nil {
		return view{}, err
	}
	turn := said{Role: "user", Parts: []string{request.Prompt}}
	for _, image := range request.Images {
		turn.Images = append(turn.Images, digest(image))
	}
	turns := []said{turn}
	if request.System != "" {
		turns = append([]said{{Role: "system", Parts: []string{request.System}}}, turns...)
	}
	return view{
		Model: request.Model, Stream: isOn(request.Stream), Limit: limitOf(request.Options), Said: turns, Read: request,
	}, nil
}

func readChat(body []byte) (view, error) {
	var request chatRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	if err := checkOptions(request.Options); err != nil {
		return view{}, err
	}
	return view{
		Model: request.Model, Stream: isOn(request.Stream), Limit: limitOf(request.Options),
		Said: conversation(request.Messages), Read: request,
	}, nil
}

func conversation(messages []message) []said {
	var turns []said
	for _, message := range messages {
		turn := said{
			Role: message.Role, Parts: []string{message.Content}, Thinking: message.Thinking,
			ToolName: message.ToolName, CallID: message.ToolCallID,
		}
		for _, image := range message.Images {
			turn.Images = append(turn.Images, digest(image))
		}
		for _, call := range message.ToolCalls {
			turn.Calls = append(turn.Calls, called{call.ID, call.Function.Name, call.Function.Arguments})
		}
		turns = append(turns, turn)
	}
	return turns
}

// isOn: what is not said is on.
func isOn(flag *bool) bool { return flag == nil || *flag }

type embedRequest struct {
	Model      string         `json:"model"`
	Input      any            `json:"input"`
	KeepAlive  *lifetime      `json:"keep_alive"`
	Truncate   *bool          `json:"truncate"`
	Dimensions int            `json:"dimensions"`
	Options    map[string]any `json:"options"`
}

func readEmbed(body []byte) (view, error) {
	var request embedRequest
	if err := decode(body, &request); err != nil {
		return view{}, err
	}
	turns, err := inputs(request.Input)
	return view{Model: request.Model, Said: turns, Read: request}, err
}

func inputs(input any) ([]said, error) {
	turn := said{Role: "user"}
	switch input := input.(type) {
	case string:
		turn.Parts = []string{input}
	case []any:
		for _, value := range input {
			text, ok := value.(string)
			if !ok {
				return nil, errors.New("an input that is no text")
			}
			turn.Parts = append(turn.Parts, text)
		}
	case nil:
	default:
		return nil, errors.New("an input that is no text")
	}
	return []said{turn}, nil
}

type embeddingsRequest struct {
	Model     string         `json:"model"`
	Prompt    string         `json:"prompt"`
	KeepAlive *lifetime      `json:"keep_alive"`
	Options   map[string]any `json:"options"`
}

func readEmbeddings(body []byte) (view, error) {
	var request embeddingsRequest
	err := decode(body, &request)
	turns := []said{{Role: "user", Parts: []string{request.Prompt}}}
	return view{Model: request.Model, Said: turns, Read: request}, err
}

type showRequest struct {
	Model    string         `json:"model"`
	System   string         `json:"system"`
	Template string         `json:"template"`
	Verbose  bool           `json:"verbose"`
	Options  map[string]any `json:"options"`
	Name     string         `json:"name"`
}

func readShow(body []byte) (view, error) {
	var request showRequest
	err := decode(body, &request)
	return view{Model: either(request.Model, request.Name), Read: request}, err
}

// either is the model's name, or the name in the field that was there before it.
func either(model, name string) string {
	if model != "" {
		return model
	}
	return name
}

type deleteRequest struct {
	Model string `json:"model"`
	Name  string `json:"name"`
}

func readDelete(body []byte) (view, error) {
	var request deleteRequest
	err := decode(body, &request)
	return view{Model: either(request.Model, request.Name), Read: request}, err
}

type copyRequest struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

func readCopy(body []byte) (view, error) {
	var request copyRequest
	err := decode(body, &request)
	return view{Model: request.Source, Read: request}, err
}

type transferRequest struct {
	Model    string `json:"model"`
	Insecure bool   `json:"insecure"`
	Username string `json:"username"`
	Password string `json:"password"`
	Stream   *bool  `json:"stream"`
	Name     string `json:"name"`
}

func readTransfer(body []byte) (view, error) {
	var request transferRequest
	err := decode(body, &request)
	return view{Model: either(request.Model, request.Name), Stream: isOn(request.Stream), Read: request}, err
}

type createRequest struct {
	Model         string            `json:"model"`
	Stream        *bool             `json:"stream"`
	Quantize      string            `json:"quantize"`
	DraftQuantize string            `json:"draft_quantize"`
	From          string            `json:"from"`
	RemoteHost    string            `json:"remote_host"`
	Files         map[string]string `json:"files"`
	DraftFiles    map[string]string `json:"draft_files"`
	Adapters      map[string]string `json:"adapters"`
	Template      string            `json:"template"`
	License       any               `json:"license"`
	System        string            `json:"system"`
	Parameters    map[string]any    `json:"parameters"`
	Messages      []message         `json:"messages"`
	Renderer      string            `json:"renderer"`
	Parser        string            `json:"parser"`
	Requires      string            `json:"requires"`
	Info          map[string]any    `json:"info"`
	Name          string            `json:"name"`
	Quantization  string            `json:"quantization"`
}

func readCreate(body []byte) (view, error) {
	var request createRequest
	err := decode(body, &request)
	turns := conversation(request.Messages)
	if request.System != "" {
		turns = append([]said{{Role: "system", Parts: []string{request.System}}}, turns...)
	}
	return view{
		Model: either(request.Model, request.Name), Stream: isOn(request.Stream), Limit: limitOf(request.Parameters),
		Said: turns, Read: request,
	}, err
}

type webSearchRequest struct {
	Query      string `json:"query"`
	MaxResults int    `json:"max_results"`
}

func readWebSearch(body []byte) (view, error) {
	var request webSearchRequest
	err := decode(body, &request)
	return view{Said: []said{{Role: "user", Parts: []string{request.Query}}}, Read: request}, err
}

type webFetchRequest struct {
	URL string `json:"url"`
}

func readWebFetch(body []byte) (view, error) {
	var request webFetchRequest
	err := decode(body, &request)
	return view{Said: []said{{Role: "user", Parts: []string{request.URL}}}, Read: request}, err
}

package main

import (
	"context"
	"strings"
	"sync"

	"github.com/ollama/ollama/api"
)

// The same answer at once, late, and with a gap, all at the same time.
func silence(client *api.Client) {
	var calls sync.WaitGroup
	for _, model := range []string{"prompt-stream", "late-stream", "gap-stream", "prompt-whole", "late-whole"} {
		calls.Add(1)
		go func() {
			defer calls.Done()
			streams := strings.HasSuffix(model, "stream")
			chat := &api.ChatRequest{Model: model, Messages: []api.Message{{Role: "user", Content: "hi"}}, Stream: &streams}
			text := ""
			err := client.Chat(context.Background(), chat, func(piece api.ChatResponse) error {
				text += piece.Message.Content
				return nil
			})
			told("ollama "+model, text, err)
		}()
	}
	calls.Wait()
}

// The `ollama` command's own client library, as the command uses it: its address and its signature come from the
// environment (OLLAMA_HOST, OLLAMA_AUTH, HOME). Prints a line of JSON for each call. With the argument `silence` it asks
// an Ollama that is silent, see silence.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/ollama/ollama/api"
)

var printing sync.Mutex

func told(name string, result any, err error) {
	line := map[string]any{"call": name, "ok": err == nil, "result": result}
	var refused api.AuthorizationError
	if err != nil {
		line["result"] = err.Error()
	}
	if errors.As(err, &refused) {
		line["status"] = refused.StatusCode
	}
	printing.Lock()
	defer printing.Unlock()
	json.NewEncoder(os.Stdout).Encode(line)
}

func main() {
	client, err := api.ClientFromEnvironment()
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "silence" {
		silence(client)
		return
	}
	ctx := context.Background()
	told("heartbeat", nil, client.Heartbeat(ctx))
	list, err := client.List(ctx)
	names := []string{}
	if err == nil {
		for _, model := range list.Models {
			names = append(names, model.Name)
		}
	}
	told("list", names, err)
	_, err = client.Show(ctx, &api.ShowRequest{Model: "tiny"})
	told("show", nil, err)
	pieces := 0
	chat := &api.ChatRequest{Model: "tiny", Messages: []api.Message{{Role: "user", Content: "hi"}}}
	err = client.Chat(ctx, chat, func(api.ChatResponse) error { pieces++; return nil })
	told("chat", pieces, err)
	// Management of the server: what the role does not name.
	told("delete", nil, client.Delete(ctx, &api.DeleteRequest{Model: "tiny"}))
}

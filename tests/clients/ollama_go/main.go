// The `ollama` command's own client library, as the command uses it: its address and its signature come from the
// environment (OLLAMA_HOST, OLLAMA_AUTH, HOME). Prints a line of JSON for each call.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/ollama/ollama/api"
)

func told(name string, result any, err error) {
	line := map[string]any{"call": name, "ok": err == nil, "result": result}
	var refused api.AuthorizationError
	if err != nil {
		line["result"] = err.Error()
	}
	if errors.As(err, &refused) {
		line["status"] = refused.StatusCode
	}
	json.NewEncoder(os.Stdout).Encode(line)
}

func main() {
	client, err := api.ClientFromEnvironment()
	if err != nil {
		panic(err)
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

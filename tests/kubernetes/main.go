// Decodes Kubernetes manifests strictly into the types that Kubernetes and the Prometheus operator publish: a field that
// there is not, a field that is there twice, a value of another type and a kind that is not listed here are faults.
//
//	go run . FILE...
//
// Does not: check what only a cluster knows (names that exist, values that admission refuses).
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	yamlsplit "k8s.io/apimachinery/pkg/util/yaml"
)

var kinds = map[string]func() any{
	"apps/v1/Deployment":                      func() any { return new(apps.Deployment) },
	"networking.k8s.io/v1/NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
	"monitoring.coreos.com/v1/ServiceMonitor": func() any { return new(monitoring.ServiceMonitor) },
	"v1/ConfigMap":                            func() any { return new(core.ConfigMap) },
	"v1/Namespace":                            func() any { return new(core.Namespace) },
	"v1/PersistentVolumeClaim":                func() any { return new(core.PersistentVolumeClaim) },
	"v1/Secret":                               func() any { return new(core.Secret) },
	"v1/Service":                              func() any { return new(core.Service) },
	"v1/ServiceAccount":                       func() any { return new(core.ServiceAccount) },
}

func check(document []byte) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(document, &head); err != nil {
		return err
	}
	made, known := kinds[head.APIVersion+"/"+head.Kind]
	if !known {
		return fmt.Errorf("%s %s is not a kind that is known here", head.APIVersion, head.Kind)
	}
	if head.Metadata.Name == "" {
		return fmt.Errorf("a %s has no name", head.Kind)
	}
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	// As the API server decodes: by the exact case of a name, which encoding/json does not look at.
	faults, err := json.UnmarshalStrict(text, made())
	if err = errors.Join(append(faults, err)...); err != nil {
		return fmt.Errorf("%s %s: %w", head.Kind, head.Metadata.Name, err)
	}
	return nil
}

func checkFile(name string) (int, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	reader, count := yamlsplit.NewYAMLReader(bufio.NewReader(bytes.NewReader(content))), 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		if err := check(document); err != nil {
			return count, err
		}
		count++
	}
}

func main() {
	wrong := false
	for _, name := range os.Args[1:] {
		count, err := checkFile(name)
		if err == nil && count == 0 {
			err = errors.New("it has no document")
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			wrong = true
		}
	}
	if wrong || len(os.Args) < 2 {
		os.Exit(1)
	}
}

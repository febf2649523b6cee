// The bill of materials of a binary, in CycloneDX 1.6: what go build wrote into it,
// and nothing of when and where. The same binary gives the same text.
//
//	go run .ci/sbom.go VERSION BINARY
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Ref     string `json:"bom-ref"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Purl    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`

	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run .ci/sbom.go VERSION BINARY")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(version, path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	self := component{
		Ref: info.Main.Path, Type: "application", Name: filepath.Base(path), Version: version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	std := library("std", strings.TrimPrefix(info.GoVersion, "go"))
	all := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{self}, Components: []component{std}}
	for _, m := range info.Deps { // sorted by path
		all.Components = append(all.Components, moduleOf(m))
	}
	on := make([]string, 0, len(all.Components))
	for _, c := range all.Components {
		on = append(on, c.Ref)
	}
	all.Dependencies = []dependency{{self.Ref, on}}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(all)
}

func library(path, version string) component {
	purl := "pkg:golang/" + path + "@" + url.QueryEscape(version)
	return component{Ref: purl, Type: "library", Name: path, Version: version, Purl: purl}
}

// moduleOf returns a module with the sum that go.sum and the checksum database have
// of it. It is no hash of the component, which would be one of a single file, but of
// the names and hashes of all its files.
func moduleOf(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := library(m.Path, m.Version)
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

package openapi

import (
	"bytes"
	"encoding/json"
)

// The parts of an OpenAPI document that are written, in the order in which they
// are read best.
type (
	document struct {
		OpenAPI    string                `json:"openapi"`
		Info       info                  `json:"info"`
		Servers    []server              `json:"servers"`
		Security   []map[string][]string `json:"security"`
		Tags       []tag                 `json:"tags"`
		Paths      map[string]pathItem   `json:"paths"`
		Components components            `json:"components"`
	}
	info struct {
		Title       string   `json:"title"`
		Version     string   `json:"version"`
		Description string   `json:"description,omitempty"`
		Contact     *contact `json:"contact,omitempty"`
		License     *license `json:"license,omitempty"`
	}
	contact struct {
		Name string `json:"name"`
		URL  string `json:"url,omitempty"`
	}
	license struct {
		Name       string `json:"name"`
		Identifier string `json:"identifier"`
	}
	server struct {
		URL string `json:"url"`
	}
	tag struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
	}
	// pathItem holds operations by lower-case HTTP method.
	pathItem  map[string]*operation
	operation struct {
		OperationID string                 `json:"operationId"`
		Tags        []string               `json:"tags"`
		Summary     string                 `json:"summary,omitempty"`
		Description string                 `json:"description,omitempty"`
		Deprecated  bool                   `json:"deprecated,omitempty"`
		Security    *[]map[string][]string `json:"security,omitempty"`
		Parameters  []*parameter           `json:"parameters,omitempty"`
		RequestBody *requestBody           `json:"requestBody,omitempty"`
		Responses   map[string]*response   `json:"responses"`
	}
	parameter struct {
		Ref         string  `json:"$ref,omitempty"`
		Name        string  `json:"name,omitempty"`
		In          string  `json:"in,omitempty"`
		Required    bool    `json:"required,omitempty"`
		Deprecated  bool    `json:"deprecated,omitempty"`
		Description string  `json:"description,omitempty"`
		Style       string  `json:"style,omitempty"`
		Explode     bool    `json:"explode,omitempty"`
		Schema      *schema `json:"schema,omitempty"`
	}
	requestBody struct {
		Required bool                 `json:"required,omitempty"`
		Content  map[string]mediaType `json:"content"`
	}
	mediaType struct {
		Schema *schema `json:"schema"`
	}
	response struct {
		Ref         string               `json:"$ref,omitempty"`
		Description string               `json:"description,omitempty"`
		Content     map[string]mediaType `json:"content,omitempty"`
	}
	components struct {
		Schemas         map[string]*schema        `json:"schemas"`
		Responses       map[string]*response      `json:"responses"`
		Parameters      map[string]*parameter     `json:"parameters,omitempty"`
		SecuritySchemes map[string]securityScheme `json:"securitySchemes"`
	}
	securityScheme struct {
		Type         string `json:"type"`
		Scheme       string `json:"scheme"`
		BearerFormat string `json:"bearerFormat,omitempty"`
	}
)

// schema is a JSON Schema. The zero schema allows every value.
type schema struct {
	Ref                  string      `json:"$ref,omitempty"`
	Type                 string      `json:"type,omitempty"`
	Format               string      `json:"format,omitempty"`
	ContentEncoding      string      `json:"contentEncoding,omitempty"`
	Pattern              string      `json:"pattern,omitempty"`
	Minimum              *int64      `json:"minimum,omitempty"`
	Maximum              *int64      `json:"maximum,omitempty"`
	MinLength            int         `json:"minLength,omitempty"`
	Description          string      `json:"description,omitempty"`
	Deprecated           bool        `json:"deprecated,omitempty"`
	ReadOnly             bool        `json:"readOnly,omitempty"`
	WriteOnly            bool        `json:"writeOnly,omitempty"`
	Enum                 []string    `json:"enum,omitempty"`
	Items                *schema     `json:"items,omitempty"`
	Required             []string    `json:"required,omitempty"`
	Properties           *properties `json:"properties,omitempty"`
	AdditionalProperties *schema     `json:"additionalProperties,omitempty"`
}

// properties keeps the order of the contract.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON writes the properties as an object, in their order.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, one := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(one.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(one.schema)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// write encodes a document the way that it is committed: indented, characters
// as they are, a newline at the end.
func write(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

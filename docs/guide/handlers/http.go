package handlers

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/service"
)

// Gin is a service whose pages a Gin engine serves.
var Gin = argosy.Service{Name: "gin-pages", Setup: func(s *argosy.Setup) error {
	engine := gin.New()
	engine.GET("/gin/hello/:name", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"hello": c.Param("name")})
	})
	engine.POST("/gin/echo", func(c *gin.Context) {
		body, err := c.GetRawData()
		if err != nil { // larger than the edge takes
			c.String(http.StatusRequestEntityTooLarge, err.Error())
			return
		}
		c.Data(http.StatusOK, "text/plain", body)
	})
	s.Handle("/gin/", engine)
	return nil
}}

// Echo is a service whose pages an Echo instance serves, to callers who have
// signed in.
var Echo = argosy.Service{Name: "echo-pages", Setup: func(s *argosy.Setup) error {
	e := echo.New()
	e.GET("/echo/me", func(c echo.Context) error {
		caller, _ := auth.From(c.Request().Context())
		return c.JSON(http.StatusOK, map[string]string{"you": caller.Subject})
	})
	s.Handle("/echo/", e, service.SignedIn())
	return nil
}}

// Chi is a service whose pages a chi router serves, to clerks.
var Chi = argosy.Service{Name: "chi-pages", Setup: func(s *argosy.Setup) error {
	r := chi.NewRouter()
	r.Get("/chi/desk/{drawer}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "drawer %s", chi.URLParam(r, "drawer"))
	})
	s.Handle("/chi/", r, service.Roles("clerk"))
	return nil
}}

// Plain is a service with a handler of net/http.
var Plain = argosy.Service{Name: "plain-pages", Setup: func(s *argosy.Setup) error {
	s.Handle("GET /plain/{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.PathValue("name"))
	}))
	return nil
}}

// Package web is the page of the shop: products, cart, orders that can be
// watched live. It is one HTML, one CSS and one JS file, needs no build and
// loads nothing from elsewhere; all it knows, it asks of the API.
//
//	http.ListenAndServe("127.0.0.1:8080", web.Handler())
package web

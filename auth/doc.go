// Package auth says who calls and whether they may.
//
// A [Principal] travels in the context, put there by the server chain after an
// [Authenticator] has looked at the bearer token; the contract's rule for the
// method is held by [Authorize]; whether this caller may touch this object is
// for the handler:
//
//	p, ok := auth.From(ctx)
//	if !ok || p.Subject != order.Customer && !p.Has("support") {
//		return nil, fault.New(codes.NotFound, "ORDER_NOT_FOUND", "order %q does not exist", req.Id)
//	}
//
// Signing somebody in takes a [Passwords] and a [Signer]:
//
//	ok, err := passwords.Verify(ctx, user.Hash, req.Password) // user.Hash may be empty: the same time, then false
//	if err != nil || !ok {
//		return nil, cmp.Or(err, errWrongPassword)
//	}
//	token, expires, err := signer.Sign(auth.Principal{Subject: user.ID, Roles: user.Roles}, time.Hour)
//
// Tokens are JWTs as RFC 8725 wants them: one algorithm (EdDSA), one type
// (at+jwt), issuer, audience, subject and times required, and keys only from
// the [KeySet] at hand. People who signed in elsewhere bring tokens of an
// [Issuer], whose keys come from the place that was configured, by RFC 7517.
// Nothing that a token says is ever fetched. Machines bring an API key: see
// [APIKeys], and package apikey.
//
// Processes prove what they run by certificates that name services ([Identity]);
// [TLS] holds both sides of a connection to them, and [LocalCA] makes them on one
// machine.
package auth

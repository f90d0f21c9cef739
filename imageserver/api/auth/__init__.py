"""Keys and tokens: who may use the server. Process: HTTP worker. Knows settings and errors, no request."""

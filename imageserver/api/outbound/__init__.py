"""Requests that this server makes itself: webhooks, and addresses that clients name. Process: HTTP worker."""

"""What clients send, read and checked: bodies, forms, images, LoRAs, headers.

Process: HTTP worker. May import `services` and below; generates nothing.
"""

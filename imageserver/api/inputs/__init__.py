"""Read and check everything that clients send: bodies, forms, images, LoRAs, headers.

Process: HTTP worker. May import `services` and below; generates nothing.
"""

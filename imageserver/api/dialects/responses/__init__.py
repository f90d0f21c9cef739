"""OpenAI's Responses API, with its tool `image_generation`.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""

"""OpenAI's chat completions, with images as answers.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""

"""Texts that a loaded model's text encoder writes, where it is a whole language model: better prompts, captions.

May import the pipelines, the device's errors and `enhancement`; knows no family and no scheduler.
"""

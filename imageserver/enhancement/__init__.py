"""Better prompts: what a language model is asked, and what is made of its answer. Process: workers and engines.

May import the standard library alone.
"""

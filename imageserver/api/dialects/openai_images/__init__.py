"""The OpenAI Images API."""

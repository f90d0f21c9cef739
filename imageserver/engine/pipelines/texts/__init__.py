"""What a pipeline reads: its text encoders, the embeddings of prompts, and their tokens. Process: engine."""

"""From latents to pixels: whole, in tiles or with interruptions, and the previews on the way. Process: engine."""

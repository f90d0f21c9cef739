"""Find, load, accelerate, measure and unload models. Process: engine. May import every package of the engine."""

"""What `doctor` asks the engine: the device, the model that would serve, its files and its hub."""

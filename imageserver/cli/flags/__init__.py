"""What the flags of the commands have in common, and how they come from the settings and the schema of the API."""

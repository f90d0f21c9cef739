"""Large bodies, hostile and welcome ones, and how long others wait while they are read."""

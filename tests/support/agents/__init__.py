"""Scripts of agents' libraries, run by the Python of the tests with packages of their own: they need other versions."""

"""qwen-image-server: HTTP workers, one dispatcher, and one engine per device, each a process of its own.

Packages import only downwards: cli > app > api > dispatch > engine | imaging | outputs > telemetry > protocol > the
modules beside this file (`generation`, `settings`, `errors` and so on). Each package says in which process it runs.
`lint-imports` enforces this law (pyproject.toml); docs/architecture.md explains it.
"""

__version__ = "0.1.0"

"""The machinery of qwen-image-server.

Rooms import only downwards: api > dispatch > engine | imaging | outputs > telemetry > vocabulary (what lies
beside this file: `generation`, `messages`, `channel`, `briefing`, `turn_order`, `startup`, `lora_folder`, `registry`,
`schedulers`, `settings`, `errors`).
`lint-imports` holds this law; docs/architecture.md explains it.
"""

__version__ = "0.1.0"

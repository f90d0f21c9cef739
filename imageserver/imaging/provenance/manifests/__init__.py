"""C2PA manifests: signed statements inside an image about what made it, which other programs check.

Process: the HTTP workers, on native threads, and the start of a server. May import the modules beside this package and
its parent. `signer`, `reading` and `ingredients` import c2pa, which the extra `c2pa` brings: import them only where
`extra` says that it is installed.

Source: the C2PA specification 2.2 (https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html).
"""

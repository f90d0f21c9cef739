"""What the gallery remembers of saved images, in the state database, and their thumbnails on disk.

Process: HTTP worker. May import the modules beside this package, as `imageserver.outputs` may.
"""

"""LoRA files of every trainer, read into the matrices that peft keeps beside a model's layers.

A file is understood whole or refused whole, before the model is touched. A new naming is a row in `naming.py`, a new
kind of matrices a file like `hadamard.py`. May import `file_kinds`, `weight_names` and the errors; knows no pipeline.
"""

"""Makes the zoo's checkpoints: `python benchmarks/zoo.py`."""

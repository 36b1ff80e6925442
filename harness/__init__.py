"""Format-safety evaluation of language models that emit listwise ranking JSON.

Importing this package loads no torch, vLLM, transformers or pandas.
"""

__version__ = "0.1.0"

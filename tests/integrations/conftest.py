"""A family of tiny checkpoints, made once a session."""

from opd_family import family

__all__ = ["family"]

"""Ranking tasks: reading, checking, preparing and rendering them as prompts."""

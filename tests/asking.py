"""Conversations of a single turn, as tests ask them."""

from __future__ import annotations

from harness.data.tasks import Conversation, as_user


def asked(*texts: str) -> list[Conversation]:
    return [as_user(text) for text in texts]

"""Text that comes from a run, made harmless for terminals, CI systems and Markdown."""

from __future__ import annotations

_PLAIN = frozenset(" ,;%=?'")


def plain(text: str) -> str:
    """Text that can't move a cursor, break a line, reorder what stands around it or command a CI system.

    Control and other invisible characters become escapes. GitHub's runner takes a line that begins with `::`,
    and `##[` anywhere, as a command; both are pulled apart.
    """
    visible = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
    return visible.replace("::", ": :").replace("##[", "## [")


def escape(text: str) -> str:
    """Text as it stands, whatever it holds: what Markdown or HTML could take for more becomes an entity."""
    return "".join(
        char if char.isalnum() or char in _PLAIN or ord(char) > 127 else f"&#{ord(char)};"
        for char in plain(text).strip()
    )

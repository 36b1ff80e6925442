"""Which tasks a job is about, as settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

DataName = Annotated[str, Field(description="Bundled dataset, .jsonl file or folder of splits.")]
Split = Annotated[str | None, Field(description="Split of a named dataset or folder.")]
Limit = Annotated[int | None, Field(ge=1, description="Only the first N tasks.")]

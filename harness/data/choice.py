"""Which tasks a job is about, and what an answer to them is held to, as settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from harness.contract import Contract
from harness.data.contract_file import chosen_contract
from harness.settings import Chosen

DataName = Annotated[str, Field(description="Bundled dataset, .jsonl file or folder of splits.")]
Split = Annotated[str | None, Field(description="Split of a named dataset or folder.")]
Limit = Annotated[int | None, Field(ge=1, description="Only the first N tasks.")]
ContractChoice = Annotated[
    Contract,
    Chosen(),
    BeforeValidator(chosen_contract),
    Field(
        description="What a valid answer is: listwise, FILE.yaml or FILE.json, schema:FILE.json (any JSON "
        "Schema), schema:row (each task's own), or the contract itself, as '{ranking: $.order}'."
    ),
]

# SPDX-License-Identifier: Apache-2.0
"""The wire vectors: tests/vectors/README.md says what they are."""

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def vectors(file: str) -> list[dict[str, Any]]:
    """The cases of a file."""
    content = json.loads((VECTORS / file).read_text("utf-8"))
    cases: list[dict[str, Any]] = content["cases"]
    return cases


def each_vector(file: str) -> pytest.MarkDecorator:
    """Run a test with each case of a file, as its argument *case*."""
    cases = vectors(file)
    return pytest.mark.parametrize("case", cases, ids=[each["name"] for each in cases])

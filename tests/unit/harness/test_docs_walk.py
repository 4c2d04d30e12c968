# SPDX-License-Identifier: Apache-2.0
"""The tool that follows pages does what stands in them, and fails where they lie."""

from pathlib import Path

import pytest

from tests.harness.docs import Walkthrough


async def _follow(folder: Path, page: str, **arguments: dict[str, str]) -> int:
    path = folder / "page.md"
    _write(path, page)
    async with Walkthrough(path, folder, **arguments) as walk:  # type: ignore[arg-type]
        return await walk.follow()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


async def test_files_commands_and_outputs_are_followed(tmp_path: Path) -> None:
    """Outputs are at least the lines of the page, in their order."""
    page = """\
```python hello.py
print("one\\ntwo\\nthree 3")
```

```sh
python hello.py
```

```text
one
three …
```

```json
{"to": "be read"}
```
"""
    assert 3 == await _follow(tmp_path, page)


@pytest.mark.parametrize(
    "page",
    [
        "```sh\nfalse\nexit 0\n```\n",
        "```sh\necho one\n```\n\n```text\ntwo\n```\n",
        "```sh\necho one two\n```\n\n```text\ntwo\none\n```\n",
        "```text\nnothing was run\n```\n",
    ],
)
async def test_a_page_that_is_wrong_fails(tmp_path: Path, page: str) -> None:
    """With its name and the line."""
    with pytest.raises(AssertionError, match=r"page\.md:\d"):
        await _follow(tmp_path, page)


async def test_terminals_go_on_until_they_are_stopped(tmp_path: Path) -> None:
    """Each has its own output; Ctrl-C comes at the comment, or at the end."""
    page = """\
```sh running
trap 'echo bye > stopped; exit' INT; echo first; while :; do sleep 0.01; done
```

```sh running
echo second; exec sleep 100
```

```text
second
```

```text first
first
```

<!-- stop first -->

```sh
cat stopped
```
"""
    assert 6 == await _follow(tmp_path, page)

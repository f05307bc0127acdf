"""A file appears whole or not at all, and an earlier one outlives a write that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.whole_files import open_whole, write_text


def test_a_text_is_there_as_written(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "page.html", "T1w → T2w\n")
    assert (tmp_path / "new" / "page.html").read_bytes() == "T1w → T2w\n".encode()


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"), open_whole(path) as file:
        file.write(b"half of the ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

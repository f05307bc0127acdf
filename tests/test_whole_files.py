"""A file appears whole or not at all, and an earlier one outlives a write that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.whole_files import check_absent, open_whole, write_text, write_whole


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


def test_a_folder_moves_to_its_name_once_it_is_complete(tmp_path: Path) -> None:
    with write_whole(tmp_path / "bundle") as folder:
        assert folder.name == "bundle"
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text("{}")
        assert not (tmp_path / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "configs" / "metadata.json").read_text() == "{}"


def test_a_writer_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), write_whole(tmp_path / "model.ts") as path:
        path.write_text("half")
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    paths = [tmp_path / name for name in "abc"]
    with pytest.raises(FileExistsError, match=r"a, .*b: already there.*--overwrite true"):
        check_absent(paths, overwrite=False)
    check_absent(paths, overwrite=True)

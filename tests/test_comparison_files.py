"""The files of a comparison: page, table and figures alike, and nothing overwritten."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from scripts.compare import FILES, main
from scripts.evaluation.statistics import bootstrap_interval

from tests.compared_evaluations import (
    GAINS,
    SSIM,
    Write,
    read_content,
    run_compare,
    write_evaluation,
)
from tests.page_outline import Outline, read_text


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return partial(write_evaluation, tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    return partial(run_compare, tmp_path)


class TestFiles:
    def test_the_page_is_whole_escaped_and_asks_for_nothing(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("a"), write("b<i>"))
        page = (tmp_path / "out" / "comparison.html").read_text()
        outline = Outline(page)
        assert outline.open == []
        assert not {"script", "img", "i"} & {tag for tag, _ in outline.tags}
        assert [attrs["href"] for _, attrs in outline.tags if "href" in attrs] == ["data:,"]
        assert not re.search(r"https?:|@import|url\(", page)
        assert "prefers-color-scheme: dark" in page
        assert str(tmp_path) not in page

    def test_table_page_and_csv_show_the_same_numbers(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        better = [value + gain for value, gain in zip(SSIM, GAINS, strict=True)]
        text = run(write("a", better), write("b"))
        page = read_text((tmp_path / "out" / FILES[0]).read_text())
        low, high = bootstrap_interval(GAINS, seed=0)
        row = f"a \N{MINUS SIGN} b +0.045 {low:+.3f} to {high:+.3f} .008 .008 8"
        assert row in " ".join(text.split())
        assert row in page
        with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
            (found,) = (
                each
                for each in csv.DictReader(file)
                if (each["kind"], each["comparison"], each["figure"])
                == ("difference", "t2w", "ssim")
            )
        assert float(found["mean"]) == pytest.approx(0.045)
        assert (float(found["low"]), float(found["p"])) == (pytest.approx(low), 2 / 2**8)
        assert found["other"] == "b"

    def test_an_earlier_comparison_is_replaced_only_when_asked(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        folders = write("a"), write("b")
        kept = tmp_path / "out" / "notes.txt"
        run(*folders)
        kept.write_text("mine")
        before = {path: path.read_bytes() for path in kept.parent.iterdir()}
        with pytest.raises(FileExistsError, match=r"comparison.html.*--overwrite true"):
            run(*folders, seed=1)
        assert {path: path.read_bytes() for path in kept.parent.iterdir()} == before
        run(*folders, seed=1, overwrite="true")
        assert read_content(tmp_path)["seed"] == 1
        assert kept.read_text() == "mine"

    def test_one_file_of_an_earlier_comparison_is_enough_to_stop(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "comparison.csv").write_text("mine")
        with pytest.raises(FileExistsError, match=r"comparison.csv: already there"):
            run(write("a"), write("b"))

    def test_an_error_writes_nothing(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        with pytest.raises(ValueError, match="different data"):
            run(write("a"), write("b", split="validation"))
        assert not (tmp_path / "out").exists()


class TestCommand:
    def test_the_command_prints_the_table(
        self,
        tmp_path: Path,
        write: Write,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        write("1e3", SSIM[:7])  # names that are numbers, and one figure, stay text
        write("2", SSIM[:7])
        monkeypatch.chdir(tmp_path)
        options = ["--figures", "ssim", "--output", "out"]
        monkeypatch.setattr(sys, "argv", ["compare", "1e3", "2", *options])
        main()
        printed = capsys.readouterr().out
        assert "No p-value of 7 subjects" in printed
        assert printed.endswith(f"Written: {', '.join(f'out/{name}' for name in FILES)}\n")
        assert read_content(tmp_path)["rows"][0]["model"] == "1e3"

    def test_an_error_is_one_clear_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path), str(tmp_path / "none")])
        with pytest.raises(SystemExit) as raised:
            main()
        assert raised.value.code == (
            f"error: {tmp_path}/summary.json: there is no such file; expected a folder that "
            "`run evaluate` finished."
        )

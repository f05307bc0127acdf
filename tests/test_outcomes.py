"""The table of what became of every scan."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from scripts.inference.outcomes import (
    OTHER_SETTINGS,
    Outcome,
    OutcomeTable,
    format_outcomes,
    load_outcomes,
)

from tests.inference_config import BUNDLE

DONE = Outcome("a.nii", "t1w_to_t2w", "done", "a_T2w.nii.gz", 2.5, 1200.0)
FAILED = Outcome("b.nii", "t1w_to_t2w", "failed", message="cannot\nbe\tread")


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "inference.tsv"
    path.write_text(format_outcomes([DONE, FAILED]))
    first, second = load_outcomes(path)
    assert first == DONE
    assert second.message == "cannot be read"


def test_it_is_written_after_every_scan_and_the_directions_stand_beside_each_other(tmp_path):
    table = OutcomeTable(str(tmp_path))
    table.add(DONE)
    assert len(load_outcomes(table.path)) == 1
    other = OutcomeTable(str(tmp_path))
    other.add(Outcome("a.nii", "t2w_to_t1w", "done"))
    other.add(Outcome("a.nii", "t1w_to_t2w", "exists"))
    rows = load_outcomes(table.path)
    assert [(row.direction, row.status) for row in rows] == [
        ("t1w_to_t2w", "exists"), ("t2w_to_t1w", "done")
    ]  # fmt: skip


def test_what_an_earlier_run_found_out_stays_when_outputs_do(tmp_path):
    warned = Outcome("a.nii", "t1w_to_t2w", "done", "out", 2.5, 1200.0, "the mask is odd")
    OutcomeTable(str(tmp_path)).add(warned)
    for _ in range(2):
        table = OutcomeTable(str(tmp_path))
        table.add(Outcome("a.nii", "t1w_to_t2w", "exists", "out", message=OTHER_SETTINGS))
    (row,) = load_outcomes(table.path)
    assert (row.status, row.seconds, row.brain_cm3) == ("exists", 2.5, 1200.0)
    assert row.message == f"{OTHER_SETTINGS} When they were made: the mask is odd"


def test_what_is_no_longer_so_is_not_said_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    scan = {"source": "a.nii", "direction": "t1w_to_t2w", "output": "out"}
    table = OutcomeTable(str(tmp_path))
    table.add(Outcome(**scan, status="done", message="the mask is odd"))
    table.add(Outcome(**scan, status="exists", message=OTHER_SETTINGS))
    table.add(Outcome(**scan, status="exists"))  # the first settings again
    assert load_outcomes(table.path)[0].message == "the mask is odd"
    assert caplog.records[-1].levelname == "INFO"
    table.add(Outcome(**scan, status="failed", message="tells of another a.nii"))
    table.add(Outcome(**scan, status="exists", message=OTHER_SETTINGS))
    assert load_outcomes(table.path)[0].message == OTHER_SETTINGS


def test_outputs_of_other_settings_that_stay_are_a_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    table = OutcomeTable(str(tmp_path))
    table.add(Outcome("a.nii", "t1w_to_t2w", "exists", "out"))
    table.add(Outcome("b.nii", "t1w_to_t2w", "exists", "out", message=OTHER_SETTINGS))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_two_processes_lose_no_row(tmp_path):
    program = (
        "import sys; from scripts.inference.outcomes import Outcome, OutcomeTable; "
        "table = OutcomeTable(sys.argv[1]); "
        "[table.add(Outcome(f'{sys.argv[2]}{i}', 'd', 'done')) for i in range(40)]"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name], cwd=BUNDLE)
        for name in "ab"
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(load_outcomes(tmp_path / "inference.tsv")) == 80


def test_some_failures_are_no_error_of_a_program_that_loads_the_bundle(tmp_path, caplog):
    table = OutcomeTable(str(tmp_path))
    table.add(DONE)
    table.add(FAILED)
    with caplog.at_level(logging.INFO):
        table.report()
    assert "1 done, 1 failed" in caplog.text


def test_only_failures_are_an_error(tmp_path):
    table = OutcomeTable(str(tmp_path))
    table.add(FAILED)
    with pytest.raises(ValueError, match=r"Nothing was translated \(1 failed\). b.nii"):
        table.report()


def test_a_foreign_table_is_not_overwritten(tmp_path):
    (tmp_path / "inference.tsv").write_text("name\tvalue\nx\t1\n")
    with pytest.raises(ValueError, match="Move it away"):
        OutcomeTable(str(tmp_path)).check()
    with pytest.raises(ValueError, match="Move it away"):
        OutcomeTable(str(tmp_path)).add(DONE)
    assert (tmp_path / "inference.tsv").read_text().startswith("name")
    (tmp_path / "inference.tsv").write_text(format_outcomes([DONE]).rpartition("\t")[0][:-9])
    with pytest.raises(ValueError, match="damaged"):
        OutcomeTable(str(tmp_path)).check()

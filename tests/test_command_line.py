"""Commands refuse what they do not know before they do anything."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from scripts.command_line import check_flags, run_command, run_long_command

from data_prep import __main__ as data_prep_program


def draw(output: str, *, run: str = "") -> str:
    raise ValueError(f"{output}: cannot be drawn from {run}.")


def test_a_misspelt_option_is_named_with_its_neighbour_for_one_command_and_for_several():
    for command, words in ((draw, []), ({"curves": draw}, ["curves"])):
        check_flags(command, [*words, "x", "--run", "y"])
        with pytest.raises(ValueError, match="--runn .did you mean --run"):
            check_flags(command, [*words, "x", "--runn=y"])


def test_the_short_flag_for_help_is_no_value_of_an_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["curves", "-h"])
    with pytest.raises(SystemExit) as ended:
        run_command({"curves": draw}, name="draw")
    assert ended.value.code == 0


def test_an_error_of_input_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["draw", "x", "--run", "y"])
    with pytest.raises(SystemExit, match=r"error: x: cannot be drawn from y\."):
        run_command(draw, name="draw")


def test_a_stop_by_hand_is_one_line_and_has_its_own_exit_code(monkeypatch, capsys):
    def stop(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["data_prep", "report", "OUT"])
    monkeypatch.setattr(data_prep_program, "write_report", stop)
    assert data_prep_program.main() == 130
    assert capsys.readouterr().err == "stopped; the same command goes on where it was\n"


def test_what_takes_long_is_stopped_by_sigterm_with_one_line(monkeypatch, caplog):
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(sys, "argv", ["long", "wait"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            run_long_command({"wait": wait}, name="long")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130
    assert caplog.messages == ["Stopped. The same command goes on."]


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    def fail() -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(sys, "argv", ["fail"])
    with pytest.raises(RuntimeError, match="a fault"):
        run_command(fail, name="fail")


def test_the_short_flag_for_help_is_none_of_data_prep_either(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["data_prep", "bids", "-h"])
    with pytest.raises(SystemExit) as ended:
        data_prep_program.main()
    assert ended.value.code == 0

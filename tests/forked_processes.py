"""Processes that fork from one that has imported what tests need: nothing is imported twice."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

IMPORTED = (
    *("monai.bundle", "scripts.engines", "scripts.evaluation.evaluator"),
    *("tests.parallel_steps", "tests.tuning_runs"),
)


def get_forking_context() -> ForkServerContext:
    """The context; its server lives as long as this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with pytest.MonkeyPatch.context() as patch:  # the server does not learn of sys.path otherwise
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        forkserver.ensure_running()
    return context


def start_command(module: str, *arguments: str, cwd: Path, output: Path) -> BaseProcess:
    """Start `python -m MODULE ARGUMENTS` in a folder, all that it says going to a file."""
    process = get_forking_context().Process(
        target=_run_module, args=(module, arguments, cwd, output)
    )
    process.start()
    return process


def _run_module(module: str, arguments: tuple[str, ...], cwd: Path, output: Path) -> None:
    os.chdir(cwd)
    sys.argv[1:] = arguments
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit:
        raise
    except BaseException:  # as the interpreter would: multiprocessing prints a traceback of its own
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

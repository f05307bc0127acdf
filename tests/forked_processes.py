"""Processes that fork from one that has imported what tests need: nothing is imported twice."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

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

"""Where studies are kept: a database that any number of workers share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

STORAGE_VARIABLE = "TUNING_STORAGE"  # a password does not belong on a command line
SQLITE, POSTGRESQL = "sqlite", "postgresql"
# Of a trial whose worker died; one that kills every worker is given up.
MOST_RETRIES = 3
SQLITE_WAIT_S = 100  # for another worker's transaction
ADVISORY_LOCK = 0x7157_2157  # any number that others do not take


def find_url(storage: str, folder: Path) -> URL:
    """Address of the database: as given, as in the environment, or a file in the study's folder.

    Raises:
        ValueError: it is no address, or of a kind that several workers cannot share safely.
    """
    given = storage or os.environ.get(STORAGE_VARIABLE, "")
    if not given:
        return URL.create(SQLITE, database=str(folder.resolve() / "study.db"))
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise ValueError(
            "--storage is no address. Expected sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE."
        ) from error
    if url.get_backend_name() not in (SQLITE, POSTGRESQL) or not url.database:
        raise ValueError(f"--storage {hide(url)}: expected a file by sqlite, or postgresql.")
    if url.drivername == POSTGRESQL:
        url = url.set(drivername="postgresql+psycopg")
    return url


def hide(url: URL) -> str:
    """The address without its password."""
    return url.render_as_string(hide_password=True)


def open_storage(url: URL, *, heartbeat_s: int) -> RDBStorage:
    """Connect; tables are made where there are none.

    Args:
        url: of the database.
        heartbeat_s: between two signs of life of a trial; after three without one it is dead.

    Raises:
        ConnectionError: the database does not answer, or refuses.
        ValueError: its driver is not installed.
    """
    is_file = url.get_backend_name() == SQLITE
    if is_file:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_S}} if is_file else {}
    with reported(url), exclusive(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=options or {"pool_pre_ping": True},
            heartbeat_interval=heartbeat_s,
            grace_period=3 * heartbeat_s,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES),
        )


@contextmanager
def reported(url: URL) -> Iterator[None]:
    """Turn the errors of a database into one line that says which, and what to do."""
    try:
        yield
    except (NoSuchModuleError, ImportError) as error:
        raise ValueError(
            f"--storage {hide(url)}: its driver is not installed ({error}). Install the extra "
            "postgresql."
        ) from error
    except (SQLAlchemyError, StorageInternalError, optuna.exceptions.DuplicatedStudyError) as error:
        cause = error.__cause__ or error
        first = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise ConnectionError(
            f"the storage {hide(url)} does not answer as it should: {first}. Start it, or check "
            "--storage; then run the same command again, and the study goes on."
        ) from error


@contextmanager
def exclusive(url: URL) -> Iterator[None]:
    """Keep the other workers of a database waiting; a worker that dies lets go."""
    if url.get_backend_name() == SQLITE:
        with FileLock(f"{url.database}.lock"):
            yield
        return
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))

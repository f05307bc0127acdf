"""A PostgreSQL of a test's own on loopback, from Debian's package; skipped where absent."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find_program(name: str) -> str:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(places[-1]) if places else None)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return found


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Its address, with a user that needs no password."""
    pytest.importorskip("psycopg")
    initdb, postgres = find_program("initdb"), find_program("postgres")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-")), find_free_port()
    if user:
        shutil.chown(folder, user)
    data = str(folder / "data")
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "user": user,
        "cwd": folder,
    }
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "tuner", "-N"], check=True, **quiet)
    options = ["-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    server = subprocess.Popen([postgres, *options], **quiet)
    try:
        wait_for_port(port)
        yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # does not wait for clients to leave
        server.wait()
        shutil.rmtree(folder)


def wait_for_port(port: int) -> None:
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(f"postgresql://tuner@127.0.0.1:{port}/postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"no PostgreSQL at port {port}")

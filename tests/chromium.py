"""A headless Chromium for pages, skipped where it is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

NAMES = {"browser": ("chromium", "chromium-browser"), "driver": ("chromedriver",)}
FOUND = {part: next(filter(None, map(shutil.which, names)), None) for part, names in NAMES.items()}
MISSING = [part for part, path in FOUND.items() if path is None]
needs_chromium = pytest.mark.skipif(
    bool(MISSING), reason=f"no {' and no '.join(MISSING)} of Chromium on the path"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1000,800",
)


@contextmanager
def running_chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """The browser, which keeps its own messages and those of the network."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(FOUND["browser"])
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(str(FOUND["driver"]))
    )
    try:
        yield driver
    finally:
        driver.quit()

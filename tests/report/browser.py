"""A headless Chromium to look at pages with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",  # which is small in containers
)


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium with an empty profile folder; a test fails where there is none."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.fail(
            "the pages are tested in a browser: install Chromium and its driver, on Debian with "
            "apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def show(browser: webdriver.Chrome, page: Path, width: int, dark: bool = False) -> None:
    """Open a page as a screen of a width in CSS pixels shows it, light or dark."""
    screen = dict(width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = dict(name="prefers-color-scheme", value="dark" if dark else "light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(features=[scheme]))
    browser.get(page.as_uri())


def picture(browser: webdriver.Chrome) -> str:
    """The whole page, as base64 of a PNG."""
    return browser.execute_cdp_cmd(
        "Page.captureScreenshot", dict(captureBeyondViewport=True, format="png")
    )["data"]

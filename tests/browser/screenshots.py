"""Make the pictures of the page in docs/images, of a real service with a canary and a workflow that fails."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, sync_playwright

from examples.build import build
from tests.support.factories import make_war
from tests.support.service import CHECKOUT, Service

IMAGES = CHECKOUT / "docs/images"
SECONDS_OF_TRAFFIC = 60
FAILING = """
def check_amounts(data, context):
    if data is not None:
        raise ValueError("row 7: expected an amount, got 'n/a'")
"""
#: Name of a picture, page, colour scheme, width and height.
PICTURES = (
    ("workflows-light", "/ui/workflows", "light", 1280, 560),
    ("workflow-dark", "/ui/workflows/sequential", "dark", 1280, 1000),
    ("workflows-phone", "/ui/workflows", "light", 390, 844),
    ("change-light", "/ui/change/sequential", "light", 1280, 820),
)


def prepare(service: Service) -> None:
    """Register the examples and let them work for a while."""
    build(service.workflow_store, service.model_store)
    make_war(service.workflow_store, name="invoices", spec="dag: {check_amounts: []}\n", handler=FAILING)
    for archive in ("sequential.war", "parallel.war", "leaves.war", "invoices.war"):
        service.register(archive).raise_for_status()
    service.register("sequential-2.war", workflow_name="sequential", version="2.0").raise_for_status()
    traffic = f"{service.management}/workflows/sequential/traffic"
    reason = "canary of the new tokenizer"
    requests.put(traffic, {"version": "2.0", "weight": "10", "reason": reason}, timeout=60).raise_for_status()
    until = time.monotonic() + SECONDS_OF_TRAFFIC
    while time.monotonic() < until:
        for name in ("sequential", "sequential", "sequential", "parallel", "invoices"):
            requests.post(f"{service.inference}/wfpredict/{name}", b"What a great day", timeout=10)


def draw(browser: Browser, service: Service) -> None:
    """Make each picture."""
    for name, path, scheme, width, height in PICTURES:
        window: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": height}}
        page = browser.new_page(base_url=service.management, **window)
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / f"{name}.png")
        page.close()


def main() -> None:
    """Make the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder) / "i") as service,
        sync_playwright() as playwright,
    ):
        prepare(service)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        draw(browser, service)
        browser.close()


if __name__ == "__main__":
    main()

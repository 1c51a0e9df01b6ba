"""A real browser opens a page of another origin that tries to register a workflow."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support.evidence import query, refused
from tests.support.factories import make_war
from tests.support.raw_http import PLANES
from tests.support.service import Service, wait_until
from tests.support.web_files import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
#: The attacks that run in the page, and one that leaves it: a form is sent as a navigation of the whole window.
SCRIPT = """
const query = "?url=evil.war";
async function attack() {
  for (const url of ["MANAGEMENT/workflows", "INFERENCE/wfpredict/evil"]) {
    navigator.sendBeacon(url + query, "url=evil.war");
    navigator.sendBeacon(url, new URLSearchParams({url: "evil.war"}));
    for (const mode of ["no-cors", "cors"]) {
      await fetch(url + query, {method: "POST", mode, body: "url=evil.war"}).catch(() => 0);
      await fetch(url, {method: "POST", mode, body: new URLSearchParams({url: "evil.war"})}).catch(() => 0);
    }
    await fetch(url + "/kept", {method: "DELETE"}).catch(() => 0);
    const frame = document.createElement("iframe");
    frame.name = "f" + url;
    document.body.append(frame);
    submit(url, frame.name);
  }
  await fetch("/done");
  document.title = "done";
}
function submit(url, target) {
  const form = document.createElement("form");
  form.method = "POST";
  form.action = url;
  form.target = target;
  form.innerHTML = '<input name="url" value="evil.war">';
  document.body.append(form);
  form.submit();
}
"""
PAGES = {
    "script.html": f"<body><script>{SCRIPT} attack()</script>",
    "form-management.html": f"<body><script>{SCRIPT} submit('MANAGEMENT/workflows', '_top')</script>",
    "form-inference.html": f"<body><script>{SCRIPT} submit('INFERENCE/wfpredict/evil', '_top')</script>",
}


def browse(url: str, profile: Path) -> str:
    """Open a page as somebody would, and return what the window shows when it is at rest."""
    assert CHROMIUM
    return subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def has_refused(service: Service, plane: str, count: float) -> bool:
    """Return whether so many requests or more were refused."""
    return refused(service, plane) >= count


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (Debian: apt-get install chromium)")
def test_page_of_another_origin_registers_nothing(service: Service, tmp_path: Path) -> None:
    """Forms, beacons and fetches of a page that somebody opens on the service's machine are refused."""
    handler = "import pathlib\npathlib.Path({!r}).touch()\ndef echo(data, context): return data\n"
    mark = tmp_path / "handler-ran"
    archive = make_war(service.workflow_store, name="evil", spec="dag: {echo: []}\n", handler=handler.format(str(mark)))
    folder = tmp_path / "site"
    folder.mkdir()
    for name, page in PAGES.items():
        text = page.replace("MANAGEMENT", service.management).replace("INFERENCE", service.inference)
        (folder / name).write_text(f"<!doctype html>{text}")
    rows, names = query(service, "SELECT count(*) AS n FROM audit_event"), service.names()
    before = {plane: refused(service, plane) for plane in PLANES}
    try:
        with served(folder) as served_at:
            # Another origin than the service's, however a browser compares them.
            address = served_at.replace("127.0.0.1", "localhost")
            for plane in PLANES:
                shown = browse(f"{address}/form-{plane}.html", tmp_path / f"profile-{plane}")
                assert "CrossOriginException" in shown
                assert refused(service, plane) == before[plane] + 1
            assert "<title>done" in browse(f"{address}/script.html", tmp_path / "profile")
            for plane in PLANES:
                wait_until(partial(has_refused, service, plane, before[plane] + 5), what=f"attacks on {plane}")
        assert service.names() == names
        assert query(service, "SELECT count(*) AS n FROM audit_event") == rows
        assert not mark.exists()
        # The same request from no browser: it was the guard that kept the page out.
        assert requests.post(f"{service.management}/workflows", data={"url": "evil.war"}, timeout=60).status_code == 200
        assert service.unregister("evil").status_code == 200
    finally:
        archive.unlink()

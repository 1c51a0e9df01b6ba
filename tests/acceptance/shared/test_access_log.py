"""gunicorn's options for its logs; `ACCESS_LOG` is in `test_log_records`."""

import re
from pathlib import Path

import requests

from tests.support.deployments import deployed
from tests.support.service import Service, wait_until

LINE = r'127\.0\.0\.1 - - \[.+\] "GET {path} HTTP/1\.1" {status} \d+ "-" "{agent}" r1'


def test_access_log_has_a_line_for_each_request(tmp_path: Path) -> None:
    """Refused ones too; a query, which may hold a token, is left out, and lines cannot be forged."""
    path, errors = tmp_path / "access.log", tmp_path / "error.log"
    arguments = ["--access-logfile", str(path), "--error-logfile", str(errors)]
    with deployed(tmp_path / "i", *arguments, web_workers=1) as service:
        assert [file.stat().st_mode & 0o777 for file in (path, errors)] == [0o600, 0o600]
        path.write_text("")
        for sent, headers in (
            ("/workflows?limit=1&x=secret", {"User-Agent": b"a\x9b2Jb"}),
            ("/no%0A127.0.0.1%20-%20forged", {}),
            ("/workflows", {"Host": "evil.example"}),
        ):
            requests.get(f"{service.management}{sent}", headers={"x-request-id": "r1", **headers}, timeout=10)
        lines = wait_until(lambda: len(lines := path.read_text().splitlines()) >= 3 and lines, what="the lines")
        assert len(lines) == 3
        assert re.fullmatch(LINE.format(path="/workflows", status=200, agent=r"a\\x9b2Jb"), lines[0])
        assert re.fullmatch(LINE.format(path=r"/no\\n127\.0\.0\.1 - forged", status=404, agent=".*"), lines[1])
        assert re.fullmatch(LINE.format(path="/workflows", status=403, agent=".*"), lines[2])
        log = service.text_of_log()
        assert "GET /workflows" not in log
        for text in (log, errors.read_text()):
            assert text.count("Listening at") == 1
        assert "Z INFO gunicorn.error: Listening at" in log


def test_log_of_the_service_has_lines_of_requests_with_the_option(tmp_path: Path) -> None:
    """Standard output and standard error of the service under test are one file here."""
    with deployed(tmp_path / "i", "--access-logfile", "-", web_workers=1) as service:
        for _ in range(3):
            requests.get(f"{service.management}/workflows", timeout=10)
        wait_until(lambda: service.text_of_log().count('"GET /workflows HTTP/1.1" 200') == 3, what="the lines")
        assert service.text_of_log().count("Listening at") == 1


def test_log_of_the_service_has_no_lines_of_requests_by_default(service: Service) -> None:
    """The answers are there, the lines are not."""
    for _ in range(3):
        assert requests.get(f"{service.management}/workflows", timeout=10).status_code == 200
    assert '"GET /workflows HTTP/1.1" 200' not in service.text_of_log()
    assert service.text_of_log().count("Listening at") == 1

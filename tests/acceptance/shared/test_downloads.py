"""Archives by url: which addresses are let through, what becomes of the files, and that credentials stay secret."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.evidence import (
    assert_error,
    assert_failure_is_audited,
    assert_json,
    audit_of,
    nothing_left,
    query,
    ready_workers,
    traces_of,
)
from tests.support.factories import make_mar, make_war
from tests.support.scripted_server import Behaviour, ScriptedServer, answer, drip, flood, redirect, stall
from tests.support.service import Service, stored_files
from tests.support.web_files import WebFiles, web_files

NOT_ALLOWED = (404, "WorkflowNotFoundException")
DOWNLOAD_FAILED = (400, "DownloadArchiveException")
LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "localhost",
    "LOCALHOST",
    "0.0.0.0",  # noqa: S104 - nothing binds to it
    "0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]
NOT_PUBLIC = [
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255"),
    *("[fe80::1]", "[fc00::1]", "[ff02::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "3232235521", "0xa9fea9fe"),
]
SECRET = "s3cr3t-Pa55"  # noqa: S105 - it is the point that nobody gets to see it


@pytest.fixture(name="web")
def _web() -> Iterator[WebFiles]:
    """Run a web server."""
    with web_files() as files:
        yield files


@pytest.fixture(name="downloading")
def _downloading(downloading_service: Service) -> Iterator[Service]:
    """Give the service that may download, and check afterwards that it is as empty as before."""
    make_mar(downloading_service.model_store)
    with nothing_left(downloading_service):
        yield downloading_service
        for name in downloading_service.names():
            assert downloading_service.unregister(name).status_code == 200


def model_spec(*urls: str) -> str:
    """Return the spec of a workflow whose models form a chain."""
    models = "".join(f"  m{number}: {{url: '{url}'}}\n" for number, url in enumerate(urls))
    dag = "".join(
        f"  m{number}: [{f'm{number + 1}' if number + 1 < len(urls) else ''}]\n" for number in range(len(urls))
    )
    return f"models:\n{models}dag:\n{dag}"


def files_in(store: Path) -> set[str]:
    """Return the names of all files, hidden ones too."""
    return {path.name for path in stored_files(store)}


@pytest.mark.parametrize("host", [*LOOPBACK, *NOT_PUBLIC])
def test_url_of_a_host_that_is_not_public_is_refused_by_default(service: Service, web: WebFiles, host: str) -> None:
    """However the address is written, nothing connects to it, and the message names the setting that could allow it."""
    url = web.url("/open/x.war", host=host)
    with nothing_left(service):
        refused = service.register(url)
    assert_error(refused, *NOT_ALLOWED, f"Given URL {url} does not match any allowed URL(s); ")
    assert "WFMGMT_ALLOWED_URLS" in refused.json()["message"]
    assert_failure_is_audited(service, refused)
    assert web.asked == []


def test_model_url_that_is_not_public_is_refused_by_default(service: Service, web: WebFiles) -> None:
    """What holds for workflows holds for the models that their specs name."""
    url = web.url("/open/x.mar")
    archive = make_war(service.workflow_store, name="x", spec=model_spec(url), handler=None)
    with nothing_left(service):
        refused = service.register("x.war")
    archive.unlink()
    details = f"Workflow Node x__m0 failed to register. Details: Given URL {url} does not match any allowed URL(s); "
    assert_error(refused, 400, "WorkflowException", f"Workflow x has failed to register. Failures: [{details}")
    assert web.asked == []


@pytest.mark.parametrize("path", ["/closed/x.war", "/open", "/openly/x.war"])
def test_url_that_no_pattern_matches_is_refused(downloading: Service, web: WebFiles, path: str) -> None:
    """With patterns set, only what they match as a whole is fetched."""
    refused = downloading.register(web.url(path))
    hint = "it has to match one of the patterns in WFMGMT_ALLOWED_URLS"
    assert_error(refused, *NOT_ALLOWED, f"Given URL {web.url(path)} does not match any allowed URL(s); {hint}")
    assert web.asked == []


def test_allowed_url_is_downloaded_and_removed_with_its_workflow(
    downloading: Service, web: WebFiles, tmp_path: Path
) -> None:
    """The archive lies in the store as long as its workflow is registered, under the name that its url gives."""
    url = web.put("/open/seq.war", make_war(tmp_path))
    assert downloading.register(url).status_code == 200
    assert files_in(downloading.workflow_store) == {"seq.war"}
    described = downloading.describe("seq")
    assert described["workflowUrl"] == url
    assert described["archiveSha256"] == hashlib.sha256(web.files["/open/seq.war"]).hexdigest()
    ready_workers(downloading, "seq")
    assert downloading.unregister("seq").status_code == 200
    assert files_in(downloading.workflow_store) == set()
    assert files_in(downloading.model_store) == {"m1.mar"}


def test_local_archives_are_kept_when_their_workflow_goes(downloading: Service) -> None:
    """What an operator put into the stores stays there."""
    archive = make_war(downloading.workflow_store)
    assert downloading.register("seq.war").status_code == 200
    assert downloading.unregister("seq").status_code == 200
    assert files_in(downloading.workflow_store) == {"seq.war"}
    assert files_in(downloading.model_store) == {"m1.mar"}
    archive.unlink()


def test_models_are_downloaded_and_removed_with_their_workflow(
    downloading: Service, web: WebFiles, tmp_path: Path
) -> None:
    """Models come by url too, each once however many nodes use it, and the query is no part of the file's name."""
    url = web.put("/open/one.mar?version=2", make_mar(tmp_path))
    other = web.put("/open/other.mar", make_mar(tmp_path))
    make_war(downloading.workflow_store, name="w", spec=model_spec(url, other, url), handler=None)
    assert downloading.register("w.war").status_code == 200
    assert files_in(downloading.model_store) == {"m1.mar", "one.mar", "other.mar"}
    assert sorted(web.asked) == ["/open/one.mar?version=2", "/open/other.mar"]
    shown = url.partition("?")[0]
    assert [node["url"] for node in downloading.describe("w")["nodes"]] == [shown, other, shown]
    assert ready_workers(downloading, "w") == {"m0": 1, "m1": 1, "m2": 1}
    assert downloading.unregister("w").status_code == 200
    assert files_in(downloading.model_store) == {"m1.mar"}
    (downloading.workflow_store / "w.war").unlink()


def test_download_leaves_a_local_archive_of_the_same_name_alone(
    downloading: Service, web: WebFiles, tmp_path: Path
) -> None:
    """The download is kept under another name, and only that one goes with its workflow."""
    local = [make_war(downloading.workflow_store), make_mar(downloading.model_store, name="x")]
    before = [path.read_bytes() for path in local]
    model = web.put("/open/x.mar", make_mar(tmp_path, name="x", extra_files={"note": "downloaded"}))
    url = web.put("/open/seq.war", make_war(tmp_path, name="other", spec=model_spec(model), handler=None))
    assert downloading.register(url).status_code == 200
    assert downloading.register("seq.war").status_code == 200
    assert len(files_in(downloading.workflow_store)) == 2
    assert len(files_in(downloading.model_store)) == 3
    assert downloading.unregister("other").status_code == 200
    assert files_in(downloading.workflow_store) == {"seq.war"}
    assert files_in(downloading.model_store) == {"m1.mar", "x.mar"}
    assert [path.read_bytes() for path in local] == before
    assert ready_workers(downloading, "seq") == {"pre_processing": 1, "m1": 1, "post_processing": 1}
    for path in local:
        path.unlink()


@pytest.mark.parametrize("first", ["seq", "twin"], ids=["the download first", "its user first"])
def test_downloads_that_two_workflows_use_stay_until_the_second_one_goes(
    downloading: Service, web: WebFiles, tmp_path: Path, first: str
) -> None:
    """Removing one workflow never takes a file away from under another, in whichever order they go."""
    spec = model_spec(web.put("/open/shared.mar", make_mar(tmp_path)))
    url = web.put("/open/shared.war", make_war(tmp_path, spec=spec, handler=None))
    assert downloading.register(url).status_code == 200
    twin = make_war(downloading.workflow_store, name="twin", spec=model_spec("shared.mar"), handler=None)
    assert downloading.register("twin.war").status_code == 200
    assert downloading.register("shared.war", workflow_name="third").status_code == 200
    other = {"seq": "twin", "twin": "seq"}[first]
    assert downloading.unregister(first).status_code == 200
    assert {"shared.war", "twin.war"} == files_in(downloading.workflow_store)
    assert {"m1.mar", "shared.mar"} <= files_in(downloading.model_store)
    assert ready_workers(downloading, other) == {"m0": 1}
    assert downloading.unregister(other).status_code == 200
    assert downloading.unregister("third").status_code == 200
    for path in (twin, downloading.workflow_store / "shared.war", downloading.model_store / "shared.mar"):
        path.unlink(missing_ok=True)


def test_name_that_is_taken_is_a_conflict_also_for_a_url(downloading: Service, web: WebFiles, tmp_path: Path) -> None:
    """The second download of one workflow is a conflict like any other, and leaves no file."""
    url = web.put("/open/seq.war", make_war(tmp_path))
    assert downloading.register(url).status_code == 200
    before = traces_of(downloading)
    for parameters in ({}, {"workflow_name": "seq"}):
        refused = downloading.register(url, **parameters)
        assert_error(refused, 409, "ConflictStatusException", "Workflow seq is already", more=("hint",))
    assert traces_of(downloading) == before
    assert web.asked == ["/open/seq.war"] * 2, "a name that is given and taken needs no download"


def test_broken_download_is_called_by_its_own_name(downloading: Service, web: WebFiles) -> None:
    """The message names the file that the url names, not the temporary one that it was written to."""
    web.files["/open/broken.war"] = b"no zip"
    with nothing_left(downloading):
        refused = downloading.register(web.url("/open/broken.war"))
    assert_error(refused, 400, "InvalidWorkflowException", "Workflow archive broken.war: it is not a zip file")
    assert_failure_is_audited(downloading, refused)


def test_broken_download_of_a_model_is_called_by_its_url(downloading: Service, web: WebFiles) -> None:
    """The same for models, with everything that was downloaded before taken back."""
    web.files["/open/broken.mar"] = b"no zip"
    url = web.url("/open/broken.mar")
    archive = make_war(downloading.workflow_store, name="x", spec=model_spec(url), handler=None)
    with nothing_left(downloading):
        refused = downloading.register("x.war")
    archive.unlink()
    details = f"Workflow Node x__m0 failed to register. Details: {url}: it is not a zip file]"
    assert_error(refused, 400, "WorkflowException", f"Workflow x has failed to register. Failures: [{details}")


def test_model_that_fails_takes_its_downloads_along(downloading: Service, web: WebFiles, tmp_path: Path) -> None:
    """A registration that fails after its downloads leaves none of them."""
    model = web.put("/open/bad.mar", make_mar(tmp_path, name="bad", source="1 / 0\n"))
    url = web.put("/open/x.war", make_war(tmp_path, name="x", spec=model_spec(model), handler=None))
    with nothing_left(downloading):
        refused = downloading.register(url)
    assert refused.status_code == 500
    assert "ZeroDivisionError: division by zero" in refused.json()["message"]


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (answer(b"no", status="404 Not Found"), "it answered with status 404"),
        (answer(b""), "the answer is empty"),
        (answer(b"short", length=100), "it ended before it was complete"),
        (answer(b"x", length=2**40), "it is larger than 1048576 bytes"),
        (answer(b"x", "Content-Encoding: gzip"), "the answer has a Content-Encoding"),
        (flood(b"HTTP/1.1 200 OK\r\n\r\n"), "it is larger than 1048576 bytes"),
        (stall, "it was not complete after 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"), "it was not complete after 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "it was not complete after 1 s"),
        (redirect("/open/x.war"), "it redirects more than 5 times"),
        (redirect("http://["), "it redirects to an address that is not valid"),
    ],
    ids=[
        "status",
        "empty",
        "shorter than declared",
        "declared too large",
        "encoded",
        "never ends",
        "never answers",
        "drips its body",
        "drips its headers",
        "redirects for ever",
        "redirects to nowhere",
    ],
)
def test_download_that_fails_says_why_and_leaves_nothing(downloading: Service, behave: Behaviour, reason: str) -> None:
    """Each ends at its limit, with the url and the reason in the message."""
    with ScriptedServer(behave) as server, nothing_left(downloading):
        refused = downloading.register(server.url("/open/x.war"))
        assert_error(
            refused, *DOWNLOAD_FAILED, f"Failed to download archive from: {server.url('/open/x.war')}: {reason}"
        )
        assert_failure_is_audited(downloading, refused)


def test_download_from_a_closed_port_is_refused_in_words(downloading: Service) -> None:
    """A refused connection is the download's failure, not the server's."""
    refused = downloading.register("http://127.0.0.1:1/open/x.war")
    message = "Failed to download archive from: http://127.0.0.1:1/open/x.war: the connection was refused"
    assert_error(refused, *DOWNLOAD_FAILED, message)


@pytest.mark.parametrize(
    "location", ["/closed/seq.war", "ftp://127.0.0.1/open/seq.war", "http://localhost/open/seq.war"]
)
def test_redirect_to_an_address_that_is_not_allowed_is_refused(
    downloading: Service, web: WebFiles, location: str
) -> None:
    """Each redirect is held against the patterns like the first address."""
    web.redirects["/open/start.war"] = location
    with nothing_left(downloading):
        refused = downloading.register(web.url("/open/start.war"))
    assert_error(refused, *NOT_ALLOWED, "Given URL ")
    assert web.asked == ["/open/start.war"]


def test_redirect_to_an_allowed_address_is_followed(downloading: Service, web: WebFiles, tmp_path: Path) -> None:
    """The workflow keeps the url that was asked for."""
    web.put("/open/seq.war", make_war(tmp_path))
    web.redirects["/open/latest.war"] = "seq.war"
    assert downloading.register(web.url("/open/latest.war")).status_code == 200
    assert downloading.describe("seq")["workflowUrl"] == web.url("/open/latest.war")


def secrets_in(service: Service, *answers: requests.Response) -> list[str]:
    """Return where the secret, plain or as it was sent, shows: answers, files, or what the database holds.

    Archives are what their authors wrote.
    """
    places = {f"{answer.request.method} {answer.status_code}": answer.content for answer in answers}
    stores = (service.workflow_store, service.model_store, service.archives)
    places |= {
        str(path.relative_to(service.instance)): path.read_bytes()
        for path in service.instance.rglob("*")
        if path.is_file() and not any(path.is_relative_to(store) for store in stores)
    }
    needles = (SECRET.encode(), base64.b64encode(f"user:{SECRET}".encode()), SECRET[:6].encode())
    return [place for place, content in places.items() if any(needle in content for needle in needles)]


@pytest.mark.parametrize("place", ["credentials", "query"])
def test_secrets_are_used_and_never_shown(downloading: Service, web: WebFiles, tmp_path: Path, place: str) -> None:
    """Neither an answer nor the log nor the database has them; what is shown is the url without them."""
    userinfo, token = (f"user:{SECRET}@", "") if place == "credentials" else ("", f"?X-Amz-Signature={SECRET}")
    if place == "credentials":
        authorization = "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()
        web.credentials = {"/open/seq.war": authorization, "/open/x.mar": authorization}
    model, url = web.url("/open/x.mar"), web.url("/open/seq.war")
    web.put(f"/open/x.mar{token}", make_mar(tmp_path))
    spec = model_spec(web.url(f"/open/x.mar{token}", userinfo=userinfo) + f"#{SECRET}")
    web.put(f"/open/seq.war{token}", make_war(tmp_path, spec=spec, handler=None))
    wanted = web.url(f"/open/seq.war{token}", userinfo=userinfo) + f"#{SECRET}"

    registered = downloading.register(wanted)
    assert registered.status_code == 200
    described = requests.get(f"{downloading.management}/workflows/seq", timeout=10)
    assert described.json()[0]["workflowUrl"] == url
    assert described.json()[0]["nodes"][0]["url"] == model
    listed = requests.get(f"{downloading.management}/workflows", timeout=10)
    assert listed.json() == {"workflows": [{"workflowName": "seq", "workflowUrl": url}]}
    (audited,) = audit_of(downloading, registered)
    assert audited["detail"]["url"] == url
    (row,) = query(downloading, "SELECT spec FROM workflow_version")
    assert model in row["spec"]
    assert secrets_in(downloading, registered, described, listed) == []
    assert downloading.unregister("seq").status_code == 200
    assert secrets_in(downloading) == []


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://user:{secret}@127.0.0.1:{port}/open/nosuch.war", 400),
        ("http://user:{secret}@127.0.0.1:{port}/closed/x.war", 404),
        ("http://user:{secret}@127.0.0.1:{port}/open/../x.war", 404),
        ("http://user:{secret}@127.0.0.1:99999/open/x.war", 400),
        ("http://user:{secret}@[::1/open/x.war", 400),
        ("http://user:{secret}@/open/x.war", 400),
        ("http://user:{secret}/raw@127.0.0.1/open/x.war", 400),
        ("http://user:{secret}@127.0.0.1/open/x y.war", 400),
        ("ftp://user:{secret}@127.0.0.1/x.war", 404),
        ("s3://user:{secret}@bucket/x.war", 404),
        ("file://user:{secret}@/x.war", 404),
        ("http://127.0.0.1:{port}/open/nosuch.war?sig={secret}", 400),
        ("http://127.0.0.1:{port}/open/redirects.war?sig={secret}", 404),
        ("http://127.0.0.1:{port}/closed/x.war?sig={secret}#{secret}", 404),
        ("http://127.0.0.1:{port}/open/../x.war?sig={secret}", 404),
        ("http://127.0.0.1:{port}/open/x.war?sig={secret}/../x", 404),
        ("http://127.0.0.1:99999/open/x.war?sig={secret}", 400),
        ("http://127.0.0.1:{port}/open/x.war?a b&sig={secret}", 400),
        ("http://127.0.0.1?sig={secret}@127.0.0.1/open/x.war", 404),
        ("http://nosuch.invalid/open/x.war?sig={secret}", 404),
        ("s3://bucket/x.war?sig={secret}", 404),
        ("file:///x.war?sig={secret}", 404),
        ("x.war?sig={secret}", 404),
    ],
)
def test_secrets_are_not_shown_when_the_download_fails(
    downloading: Service, web: WebFiles, url: str, status: int
) -> None:
    """The message and the audit row of a wrong address leave its credentials and query out."""
    given = url.format(secret=SECRET, port=web.port)
    web.redirects[f"/open/redirects.war?sig={SECRET}"] = f"/closed/x.war?sig={SECRET}"
    refused = downloading.register(given)
    assert refused.status_code == status, refused.text
    assert_json(refused)
    archive = make_war(downloading.workflow_store, name="x", spec=model_spec(given), handler=None)
    in_spec = downloading.register("x.war")
    archive.unlink()
    assert in_spec.status_code == 400, in_spec.text
    assert_failure_is_audited(downloading, in_spec)
    assert secrets_in(downloading, refused, in_spec) == []


@pytest.mark.parametrize("url", ["http://user:{secret}@h/\x07", " \n http://user:{secret}@h/x.mar\n "])
def test_secrets_are_not_shown_when_a_spec_has_a_bad_url(downloading: Service, url: str) -> None:
    """A url that is no text of one line is refused without being repeated."""
    quoted = repr(url.format(secret=SECRET))[1:-1]
    spec = f'models: {{m1: {{url: "{quoted}"}}}}\ndag: {{m1: []}}\n'
    archive = make_war(downloading.workflow_store, name="x", spec=spec, handler=None)
    refused = downloading.register("x.war")
    archive.unlink()
    assert_error(refused, 400, "InvalidWorkflowException", "models.m1.url: expected the name or http(s) address")
    assert secrets_in(downloading, refused) == []


@pytest.mark.parametrize(
    "body",
    [{"url": ["http://u:{}@h/x.war"]}, ["http://h/x.war?{}"], {"url": "x.war", "startup_timeout": "http://u:{}@h/x"}],
    ids=["url in a list", "list", "url in the wrong place"],
)
def test_secrets_are_not_shown_when_the_request_is_wrong(downloading: Service, body: object) -> None:
    """Messages that repeat what was given leave credentials out."""
    given = json.dumps(body).replace("{}", SECRET)
    headers = {"Content-Type": "application/json"}
    refused = requests.post(f"{downloading.management}/workflows", data=given, headers=headers, timeout=10)
    assert refused.status_code == 400
    assert "http://h/x" in refused.json()["message"]
    assert_failure_is_audited(downloading, refused)
    assert secrets_in(downloading, refused) == []


def test_answer_to_a_download_has_the_usual_form(downloading: Service, web: WebFiles, tmp_path: Path) -> None:
    """A url is registered with the same answer as an archive of the store."""
    url = web.put("/open/seq.war", make_war(tmp_path))
    body: Any = assert_json(requests.post(f"{downloading.management}/workflows", json={"url": url}, timeout=30))
    assert body == {"status": "Workflow seq has been registered and scaled successfully."}

"""The narrow grammar of download addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.archives.urls import is_remote, parse_url
from wfmgmt.errors import BadRequest, DownloadFailed, RelativePathRefused, UrlNotAllowed, WfmgmtError

BAD = {
    "empty": "",
    "no scheme": "models.example/a.war",
    "other scheme": "ftp://models.example/a.war",
    "one slash": "http:/models.example/a.war",
    "no host": "http:///a.war",
    "no host, port": "http://:80/a.war",
    "no host, credentials": "http://user@/a.war",
    "leading space": " http://models.example/a.war",
    "space": "http://models.example/a b.war",
    "tab": "http://models.example\t/a.war",
    "carriage return": "http://models.example/a\r.war",
    "newline": "http://models.example/a.war\n",
    "header": "http://models.example/a.war\r\nHost: other.example",
    "null": "http://models.example/a\0.war",
    "delete": "http://models.example/a\x7f.war",
    "backslash": "http://models.example\\@127.0.0.1/a.war",
    "non-ASCII path": "http://models.example/ü.war",
    "non-ASCII host": "http://mödels.example/a.war",
    "ideographic dots": "http://127\u30020\u30020\u30021/a.war",
    "full-width digits": "http://\uff11\uff12\uff17.0.0.1/a.war",
    "circled digits": "http://\u2460\u2461\u2466.0.0.1/a.war",
    "lone surrogate": "http://models.example/\ud800.war",
    "percent-encoded host": "http://127%2e0%2e0%2e1/a.war",
    "host with a leading dot": "http://.models.example/a.war",
    "two at signs": "http://a@b@127.0.0.1/a.war",
    "raw slash in the password": "http://user:pass/word@models.example/a.war",
    "brackets that are not closed": "http://[::1/a.war",
    "IPv6 that is none": "http://[::1::2]/a.war",
    "IPv6 with a scope": "http://[fe80::1%25eth0]/a.war",
    "text after the brackets": "http://[::1]models.example/a.war",
    "quote": 'http://models.example/".war',
    "too long": "http://models.example/" + "a" * 5000,
    "host too long": "http://" + "a." * 130 + "example/a.war",
}

RELATIVE = [
    "http://models.example/../a.war",
    "http://models.example/x/%2e%2e/a.war",
    "http://models.example/x/%2E./a.war",
    "http://models.example/x/%2e%2e%2fa.war",
    "http://models.example/x/%2e%2e%5ca.war",
    "http://models.example/./a.war",
    "http://models.example/a..war",
    "http://models.example/a.war?at=..",
]

BAD_PORTS = ["", "0", "-1", "65536", "99999999999", "abc", "8o", "+80", "080", "80:90"]

FILE_NAMES = {
    "plain": ("/models/seq.war", "seq.war"),
    "query": ("/seq.war?version=2", "seq.war"),
    "encoded": ("/my%20seq.war", "my_seq.war"),
    "slash inside": ("/a%2Fb.war", "a_b.war"),
    "encoded null": ("/a%00.war", "a_.war"),
    "not UTF-8": ("/%ff.war", "_.war"),
    "hidden": ("/.htaccess", "htaccess"),
    "option": ("/-rf.war", "rf.war"),
    "no path": ("", "archive"),
    "folder": ("/models/", "archive"),
    "punctuation only": ("/-", "archive"),
    "long": ("/" + "a" * 500 + ".war", "a" * 124 + ".war"),
}


def test_parse_url_takes_an_address_apart() -> None:
    """Every part of an address is an attribute, in the form in which it is used."""
    url = parse_url("HTTPS://User:p%40ss@Models.Example:8443/a/seq.war?v=1#part")
    assert (url.scheme, url.host, url.port, url.file_name) == ("https", "models.example", 8443, "seq.war")
    assert url.text == "HTTPS://User:p%40ss@Models.Example:8443/a/seq.war?v=1"
    assert url.requested == "HTTPS://Models.Example:8443/a/seq.war?v=1"
    assert url.shown == "HTTPS://Models.Example:8443/a/seq.war"
    assert url.authorization == "Basic VXNlcjpwQHNz"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("http://a.example", 80),
        ("https://a.example/", 443),
        ("http://a.example?x", 80),
        ("http://a.example:65535/", 65535),
    ],
)
def test_parse_url_fills_in_the_usual_port(text: str, port: int) -> None:
    """A port that is not given is the usual one of the scheme."""
    assert parse_url(text).port == port


def test_parse_url_keeps_credentials_out_of_everything_that_is_shown() -> None:
    """Neither the shown form nor the representation contains user, password, query or fragment."""
    url = parse_url("http://somebody:secret@models.example/a.war?sig=secret#secret")
    assert "secret" not in repr(url) + url.shown + url.file_name
    assert "somebody" not in repr(url) + url.shown


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_parse_url_refuses_what_parsers_could_disagree_about(text: str) -> None:
    """Characters and forms outside the grammar are a bad request whose message has neither text nor credentials."""
    with pytest.raises(BadRequest) as caught:
        parse_url(text)
    assert str(caught.value).isascii()
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("text", RELATIVE)
def test_parse_url_refuses_relative_segments(text: str) -> None:
    """Two dots in a row, and dot segments in any spelling, are refused like relative paths."""
    with pytest.raises(RelativePathRefused, match=r"^Relative path is not allowed in url: http://models\.example/"):
        parse_url(text)


@pytest.mark.parametrize("port", BAD_PORTS)
def test_parse_url_reports_a_bad_port_as_a_failed_download(port: str) -> None:
    """A port that is not one is what it is in TorchServe: a download that failed, named without credentials."""
    with pytest.raises(DownloadFailed) as caught:
        parse_url(f"http://user:secret@models.example:{port}/a.war")
    assert f"from: http://models.example:{port}/a.war: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://127.1/", "127.1"),
        ("http://0x7F.1/", "0x7f.1"),
        ("http://2130706433/", "2130706433"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:7f00:1"),
        ("http://[0:0::1]/", "::1"),
        ("http://public.example@127.0.0.1/", "127.0.0.1"),
        ("http://public.example:80@127.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1?@public.example/", "127.0.0.1"),
        ("http://127.0.0.1#@public.example/", "127.0.0.1"),
        ("http://127.0.0.1/@public.example/", "127.0.0.1"),
    ],
)
def test_parse_url_finds_the_host_that_is_connected_to(text: str, host: str) -> None:
    """The host is what stands after the credentials and before path, query and fragment."""
    assert parse_url(text).host == host


@pytest.mark.parametrize(("rest", "name"), FILE_NAMES.values(), ids=FILE_NAMES.keys())
def test_file_name_is_safe(rest: str, name: str) -> None:
    """The file name has only harmless characters, is not hidden and is never empty."""
    assert parse_url(f"http://models.example{rest}").file_name == name


@pytest.mark.parametrize(
    ("location", "requested"),
    [
        ("https://other.example/b.war", "https://other.example/b.war"),
        ("//other.example/b.war", "http://other.example/b.war"),
        ("/b.war?x=1", "http://models.example/b.war?x=1"),
        ("b.war", "http://models.example/x/b.war"),
        ("../b.war", "http://models.example/b.war"),
        ("", "http://models.example/x/a.war"),
    ],
)
def test_redirected_joins_a_location(location: str, requested: str) -> None:
    """A location may be relative, as HTTP allows; credentials are not inherited."""
    target = parse_url("http://user:secret@models.example/x/a.war").redirected(location)
    assert target.requested == requested
    assert target.authorization is None


@pytest.mark.parametrize("location", ["file:///etc/passwd", "FTP://models.example/a", "gopher:x", "data:,x"])
def test_redirected_refuses_other_schemes(location: str) -> None:
    """A redirect out of http and https is not allowed."""
    with pytest.raises(UrlNotAllowed):
        parse_url("http://models.example/a.war").redirected(location)


@pytest.mark.parametrize(
    "location", ["http://other.example\\@x/", "ht\ttp://x.example", "//\n127.0.0.1/", "\x01", "http://[", "//[x]/a.war"]
)
def test_redirected_refuses_what_would_have_to_be_repaired(location: str) -> None:
    """The grammar applies to a location as it was sent."""
    with pytest.raises(BadRequest):
        parse_url("http://models.example/a.war").redirected(location)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("http://models.example/a.war", True),
        ("HtTpS://models.example/a.war", True),
        ("http:/models.example", False),
        ("a.war", False),
        ("file:///a.war", False),
        ("xhttp://models.example", False),
        (" http://models.example", False),
    ],
)
def test_is_remote_is_true_for_addresses_only(text: str, *, remote: bool) -> None:
    """Only http and https addresses, in any case, are remote."""
    assert is_remote(text) is remote


@given(st.text(alphabet=st.sampled_from("htp:/@[]%2e.#?\\ \t1a_-\u3002"), max_size=40).map("http://".__add__))
def test_parse_url_fails_only_on_purpose(text: str) -> None:
    """Any text is either a value that parses to itself or one of the errors of the grammar."""
    try:
        url = parse_url(text)
    except WfmgmtError:
        return
    again = parse_url(url.requested)
    assert (again.origin, again.requested, again.file_name) == (url.origin, url.requested, url.file_name)
    assert parse_url(url.shown).shown == url.shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://models.example/a.war", "http://models.example/a.war.sig"),
        ("https://u:p@models.example/x/a.war?v=1?2#f", "https://models.example/x/a.war.sig?v=1?2"),
        ("HTTP://models.example", "HTTP://models.example/.sig"),
        ("http://models.example?a=/b", "http://models.example/.sig?a=/b"),
    ],
)
def test_followed_by_adds_to_the_path_alone(url: str, expected: str) -> None:
    """Host, query and credentials stay."""
    address = parse_url(url)
    assert address.followed_by(".sig").requested == expected
    assert address.followed_by(".sig").authorization == address.authorization

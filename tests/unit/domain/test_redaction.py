"""What is left of addresses when their secrets are taken out."""

import time
from collections.abc import Callable

import pytest
import yaml

from wfmgmt.domain.redaction import redacted, redacted_address
from wfmgmt.domain.tokens import new_token
from wfmgmt.domain.yaml_redaction import redacted_yaml

#: What is given, and what may be shown of it.
ADDRESSES = {
    "https://key:SECRET@models.example/a@b.war": "https://models.example/a@b.war",
    "s3://key:SECRET@bucket/a@b.war": "s3://bucket/a@b.war",
    "https://models.example/a.war?X-Amz-Signature=SECRET&b=c#SECRET": "https://models.example/a.war",
    "https://models.example/a.war#SECRET": "https://models.example/a.war",
    "https://models.example?sig=SECRET/SECRET": "https://models.example",
    "https://models.example/a?sig=http://x@SECRET": "https://models.example/a",
    "https://models.example?SECRET@models.example/SECRET": "https://…",
    "https://user:SEC?RET@models.example/x": "https://…",
    "http:\\\\u:SECRET@h\\a.war?sig=SECRET": "http:\\\\…",
    "http:\\/\\/u:SECRET@h\\/a.war": "http:\\/\\/h\\/a.war",
    "http:/u:SECRET@h/a.war": "http:/h/a.war",
    "https:u:SECRET@h": "https:h",
    "s3:\\\\u:SECRET@bucket\\a.war": "s3:\\\\bucket\\a.war",
    "http://u:x/SECRET@h/a.war": "http://…",
    "http://h.example:8080/a@b.war": "http://h.example:8080/a@b.war",
    "http://[::1]:8080/a@b.war": "http://[::1]:8080/a@b.war",
    "a@b.war": "a@b.war",
    "models.example/a.war?sig=SECRET": "models.example/a.war",
    "notes #1.war": "notes #1.war",
}
SPECS = {
    "plain": "m1:\n  url: http://key:SECRET@h/a.mar?sig=SECRET\nm2: http://h/b.mar?SECRET # why\nm3: [1]\n",
    "quotes": "m1: 'http://h/a.mar?it''s=SECRET'\nm2: \"http://h/b.mar?sig=SECRET\"\n",
    "escapes": 'm1: "http://h/a.mar\\x3fsig=SECRET"\nm2: "http:\\u002f/h/b.mar\\x3FSECRET"\n',
    "lines": 'm1: "http://h/a.mar?sig=\\\n  SECRET"\nm2: x\n',
    "block": "m1: |\n  http://h/a.mar?sig=SECRET\n  more\nm2: >-\n  http://h/b.mar?SECRET\nm3: x\n",
    "anchor": "m1: &a http://h/a.mar?sig=SECRET\nm2: *a\n",
    "comment": "m1: x  # from http://h/a.mar?sig=SECRET, of course\n",
    "other letters": "größe: ☃ 😀\nm1: http://h/ü.mar?sig=SECRET\nm2: x\n",
}


@pytest.mark.parametrize(("given", "shown"), ADDRESSES.items())
def test_address_loses_credentials_query_and_fragment(given: str, shown: str) -> None:
    """What could be a secret is left out, even where parsers disagree about what it is."""
    assert redacted_address(given) == shown
    assert "SECRET" not in redacted(f"'{given}', and so on") or ":" not in given


def test_text_keeps_everything_else() -> None:
    """All addresses of a text lose their secrets, and the punctuation after them stays."""
    text = "got 'http://u:p@h/a?b=c', ['https://h/b#c'] and s3://k@h/d?e; a@b.c? #1"
    assert redacted(text) == "got 'http://h/a', ['https://h/b'] and s3://h/d; a@b.c? #1"


def test_token_loses_all_but_its_beginning() -> None:
    """Wherever it stands, also when it was cut off or has a character too many."""
    token = new_token()
    for shown in (token, token[:-6], f"{token}x", f"http://{token}@h/{token}", f"'{token}', and {token}"):
        assert token[8:20] not in redacted(shown)
        assert token[8:20] not in redacted_address(shown)
    assert redacted(f"as {token}.") == f"as {token[:8]}…."
    assert redacted("wfm_sentiment and wfmgmt_failed_logins_total") == "wfm_sentiment and wfmgmt_failed_logins_total"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_spec_loses_secrets_however_they_are_written(spec: str) -> None:
    """The text still says the same, but for its secrets."""
    shown = redacted_yaml(spec)
    assert "SECRET" not in shown
    values = yaml.safe_load(spec)
    expected = {key: redacted(value) if isinstance(value, str) else value for key, value in values.items()}
    if "m1" in expected and isinstance(expected["m1"], dict):
        expected["m1"] = {"url": redacted(values["m1"]["url"])}
    assert yaml.safe_load(shown) == expected


def test_spec_without_secrets_stays_as_it_is() -> None:
    """Comments, quotes and spaces are the author's."""
    spec = "# why: a@b\nmodels:\n    m1 : {url:  'https://h/a.mar'}   # here\ndag: {m1: []}\n"
    assert redacted_yaml(spec) == spec


@pytest.mark.parametrize("strip", [redacted_address, redacted], ids=lambda strip: strip.__name__)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a://" * 50_000,
        "http:" * 40_000,
        ":\\" * 100_000,
        "wfm_" * 50_000,
        "://" + "@" * 200_000 + "/",
        "://?" + "'" * 200_000 + "x",
    ],
    ids=lambda text: text[:4],
)
def test_secrets_are_found_in_linear_time(strip: Callable[[str], str], text: str) -> None:
    """A long word keeps nobody busy: a search in quadratic time would take minutes."""
    began = time.process_time()
    strip(text)
    assert time.process_time() - began < 1

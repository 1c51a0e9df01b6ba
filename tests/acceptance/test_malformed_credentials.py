"""Two thousand credentials that are nearly right: each is refused on both addresses, and nothing is logged of any."""

import base64
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.service import Service, wait_until

#: For each address of the service.
REQUESTS = 1000
CLIENTS = 8

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Shown(NamedTuple):
    """A request that shows a token as it must not be shown.

    Attributes:
        headers: Lines of the request, each with its end.
        query: Of its path.
        text: What must not be found in the log.
        statuses: Expected ones; 400 where it is no HTTP.
    """

    headers: bytes
    query: str = ""
    text: str = ""
    statuses: tuple[int, ...] = (401,)


def _header(value: str | bytes, *more: int) -> Shown:
    sent = value if isinstance(value, bytes) else value.encode()
    return Shown(b"Authorization: " + sent + b"\r\n", text=sent.decode("latin-1")[7:].strip(), statuses=(401, *more))


def _other_case(secret: str, chance: random.Random) -> Shown:
    place = chance.choice([place for place in range(4, len(secret)) if secret[place].isalpha()])
    return _header(f"Bearer {secret[:place]}{secret[place].swapcase()}{secret[place + 1 :]}")


def _other_character(secret: str, chance: random.Random) -> Shown:
    place = chance.randrange(4, len(secret))
    other = chance.choice([character for character in _BASE62 if character != secret[place]])
    return _header(f"Bearer {secret[:place]}{other}{secret[place + 1 :]}")


def _shorter(secret: str, chance: random.Random) -> Shown:
    return _header(f"Bearer {secret[: chance.randrange(5, len(secret))]}")


def _longer(secret: str, chance: random.Random) -> Shown:
    return _header(f"Bearer {secret}{''.join(chance.choices(_BASE62, k=chance.choice([1, 40, 4000])))}")


def _with_a_control_character(secret: str, chance: random.Random) -> Shown:
    place = chance.randrange(len(secret))
    character = bytes([chance.choice([0, 1, 8, 11, 12, 27, 127])])
    return _header(b"Bearer " + secret[:place].encode() + character + secret[place:].encode(), 400)


def _with_a_letter_beyond_ascii(secret: str, chance: random.Random) -> Shown:
    place = chance.randrange(4, len(secret))
    letter = chance.choice(["é", "\ufb00", "\uff10", "\U0001d7ce", "\u200b", "\u202e", "\udcff"]).encode(
        errors="surrogateescape"
    )
    return _header(b"Bearer " + secret[:place].encode() + letter + secret[place:].encode())


def _as_user_and_password(secret: str, chance: random.Random) -> Shown:
    pair = chance.choice([f"ci:{secret}", f"{secret}:", secret])
    return _header(f"Basic {base64.b64encode(pair.encode()).decode()}")


def _otherwise_in_the_header(secret: str, chance: random.Random) -> Shown:
    forms = (
        "{}",
        "Token {}",
        "Bearer{}",
        "Bearer={}",
        "Bearer {0},Bearer {0}",
        "Bearer {0} {0}",
        'Bearer "{}"',
        "Bearer\t{}",
    )
    return _header(chance.choice(forms).format(secret))._replace(text=secret)


def _twice(secret: str, _chance: random.Random) -> Shown:
    header = f"Authorization: Bearer {secret}\r\n".encode()
    return Shown(header * 2, text=secret, statuses=(401, 400))


def _elsewhere(secret: str, chance: random.Random) -> Shown:
    name = chance.choice(["Cookie: token=", "X-Token: ", "X-Authorization: Bearer ", "Proxy-Authorization: Bearer "])
    return Shown(f"{name}{secret}\r\n".encode(), text=secret)


def _in_the_query(secret: str, chance: random.Random) -> Shown:
    return Shown(b"", query=f"?{chance.choice(['token', 'access_token', 'Authorization'])}={secret}", text=secret)


KINDS: tuple[Callable[[str, random.Random], Shown], ...] = (
    _other_case,
    _other_character,
    _shorter,
    _longer,
    _with_a_control_character,
    _with_a_letter_beyond_ascii,
    _as_user_and_password,
    _otherwise_in_the_header,
    _twice,
    _elsewhere,
    _in_the_query,
)


def ask(address: str, path: str, shown: Shown, *, number: int) -> int:
    """Send a request from a loopback address of its own, which no refusal of another holds back; return its status."""
    host, port = urlsplit(address).hostname or "", urlsplit(address).port or 0
    source = f"127.7.{number // 250}.{number % 250 + 1}"
    with socket.create_connection((host, port), timeout=30, source_address=(source, 0)) as connection:
        connection.sendall(
            f"GET {path}{shown.query} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n".encode()
            + shown.headers
            + b"\r\n"
        )
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def _is_accepted(address: str, path: str, shown: Shown) -> bool:
    return ask(address, path, shown, number=0) == 200


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("c"), inference_tokens="true", access_log="all") as service:
        make_war(
            service.workflow_store,
            spec="dag: {pre_processing: []}\n",
            handler="def pre_processing(data, context):\n    return None if data is None else ['hello']\n",
        )
        assert service.register("seq.war").status_code == 200
        yield service


def test_nearly_right_credentials_are_refused(service: Service) -> None:
    """The token itself is accepted all the while, and no row of the audit trail comes of a refusal."""
    done = service.command("token", "create", "right", "--role", "admin")
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    right = _header(f"Bearer {secret}", 200)
    planes = {service.management: "/workflows", service.inference: "/wfpredict/seq"}
    for address, path in planes.items():
        wait_until(partial(_is_accepted, address, path, right), timeout_s=30, what="the token")
    trail = _trail(service)
    chance = random.Random(14)
    requests = [
        (address, path, chance.choice(KINDS)(secret, chance), number)
        for first, (address, path) in enumerate(planes.items())
        for number in range(1 + first * REQUESTS, 1 + (first + 1) * REQUESTS)
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(lambda each: ask(each[0], each[1], each[2], number=each[3]), requests))
    wrong = [
        (status, each.headers, each.query)
        for status, (_, _, each, _) in zip(statuses, requests, strict=True)
        if status not in each.statuses
    ]
    assert wrong == []
    for address, path in planes.items():
        assert _is_accepted(address, path, right)
    log = service.text_of_log()
    assert [each.text for _, _, each, _ in requests if each.text and each.text in log] == []
    assert secret not in log
    assert _trail(service) == trail


def _trail(service: Service) -> str:
    """Return all of the audit trail."""
    exported = service.command("audit", "export")
    assert exported.returncode == 0, exported.stderr
    assert '"token-create"' in exported.stdout
    return exported.stdout

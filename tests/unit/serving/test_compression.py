"""Compressed bodies, whole, broken and malicious."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from tests.support.crafted_zips import packed_zeros
from wfmgmt.errors import BadRequest, Saturated
from wfmgmt.errors.predictions import RequestTooLarge, UnsupportedEncoding
from wfmgmt.serving.compression import supported_encoding, unpacked
from wfmgmt.serving.predictions import AdmissionControl, Permit, PredictionLimits
from wfmgmt.testing import in_event_loop

MIB = 1024 * 1024
TEXT = b"".join(b"line %d\n" % number for number in range(50_000))

Pack = Callable[[bytes], bytes]


def make_permit(request_bytes: int = 8 * MIB, in_flight_bytes: int = 512 * MIB) -> Permit:
    """Return the permit of a request within these limits."""
    return Permit(AdmissionControl(PredictionLimits(request_bytes=request_bytes, in_flight_bytes=in_flight_bytes)))


def raw_deflate(data: bytes) -> bytes:
    """Return deflate data without a frame."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("content", [b"", b"a", TEXT, b"\0" * 5 * MIB], ids=["empty", "byte", "text", "zeros"])
@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (gzip.compress, "gzip"),
        (zlib.compress, "deflate"),
        (raw_deflate, "deflate"),
        (lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:]), "gzip"),
    ],
    ids=["gzip", "deflate", "deflate without frame", "two gzip files"],
)
@in_event_loop
async def test_whole_body_is_unpacked_and_accounted_for(pack: Pack, encoding: str, content: bytes) -> None:
    """What was packed comes out, and its bytes are held."""
    permit = make_permit()
    assert await unpacked(pack(content), encoding, permit) == content
    assert permit.in_flight_bytes == len(content)


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
@in_event_loop
async def test_body_truncated_at_any_byte_is_refused(pack: Pack, encoding: str) -> None:
    """A part is never taken for the whole."""
    packed = pack(b"some text that is long enough to be cut")
    for end in range(1, len(packed)):
        with pytest.raises(BadRequest, match="it is truncated"):
            await unpacked(packed[:end], encoding, make_permit())


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (b"not packed at all", "gzip"),
        (b"\xffnot packed at all", "deflate"),
        (gzip.compress(TEXT)[:-8] + bytes(8), "gzip"),
        (gzip.compress(b"abc") + b"trailing bytes", "gzip"),
        (zlib.compress(b"abc") + b"trailing bytes", "deflate"),
        (gzip.compress(b"") * 10_001, "gzip"),
    ],
    ids=["no gzip", "no deflate", "wrong checksum", "bytes after gzip", "bytes after deflate", "many files"],
)
@in_event_loop
async def test_body_that_is_something_else_is_refused(packed: bytes, encoding: str) -> None:
    """Neither broken data nor data with something behind it is guessed at."""
    with pytest.raises(BadRequest, match="The body cannot be decoded: "):
        await unpacked(packed, encoding, make_permit())


@in_event_loop
async def test_bomb_is_refused_before_it_goes_off() -> None:
    """A gigabyte from a megabyte is given up at the limit, with no more than that in memory."""
    bomb = gzip.compress(b"")[:10] + packed_zeros(1024)
    tracemalloc.start()
    try:
        with pytest.raises(RequestTooLarge):
            await unpacked(bomb, "gzip", make_permit(request_bytes=8 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
    finally:
        tracemalloc.stop()


@in_event_loop
async def test_body_needs_room_for_what_it_unpacks_to() -> None:
    """What all requests hold is bounded by unpacked lengths."""
    with pytest.raises(Saturated):
        await unpacked(gzip.compress(bytes(3 * MIB)), "gzip", make_permit(in_flight_bytes=2 * MIB))


@in_event_loop
async def test_others_have_their_turns_while_a_large_body_is_unpacked() -> None:
    """The event loop goes on between the steps, of which none is long."""
    turns = 0
    unpacking = asyncio.ensure_future(unpacked(gzip.compress(bytes(8 * MIB)), "gzip", make_permit()))
    while not unpacking.done():
        turns += 1
        await asyncio.sleep(0)
    assert len(unpacking.result()) == 8 * MIB
    assert turns >= 8


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("gzip", "gzip"), (" GZIP", "gzip"), ("x-gzip", "gzip"), ("deflate", "deflate"), ("", "identity")],
)
def test_supported_encodings_are_known_by_all_their_names(header: str, encoding: str) -> None:
    """Case does not matter, and gzip has an old name."""
    assert supported_encoding(header) == encoding


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip, deflate", "nonsense"])
def test_other_encodings_are_refused_with_those_that_are_supported(header: str) -> None:
    """The client can see what to do about it."""
    with pytest.raises(UnsupportedEncoding, match=r"expected one of gzip, deflate, identity"):
        supported_encoding(header)

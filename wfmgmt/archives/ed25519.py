"""Signatures of Ed25519, by the library cryptography: the extra `signers`."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def is_made_by(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether a public key of 32 bytes made a signature of 64 bytes over a message."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve.
        return False
    return True

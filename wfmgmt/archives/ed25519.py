"""Signatures of Ed25519, and their keys in PEM, by the library cryptography: the extra `signers`."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

_OF_ANOTHER_KIND = "has a key of another kind than Ed25519"


def is_made_by(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether a public key of 32 bytes made a signature of 64 bytes over a message."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve.
        return False
    return True


def signature_by(pem: bytes, message: bytes) -> bytes:
    """Return the signature over a message by a private key in PEM.

    Raises:
        ValueError: It is none of Ed25519, or has a passphrase; the text is the rest of a sentence.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise ValueError("has a passphrase, which nobody could enter") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("has no private key in PEM") from error
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    raise ValueError(_OF_ANOTHER_KIND)


def public_key(pem: bytes) -> bytes:
    """Return the 32 bytes of a public key in PEM.

    Raises:
        ValueError: It is none of Ed25519; the text is the rest of a sentence.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("has no public key in PEM") from error
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    raise ValueError(_OF_ANOTHER_KIND)

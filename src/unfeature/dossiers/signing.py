"""Ed25519 signatures; keys are PEM files as `openssl genpkey -algorithm ed25519` writes them."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from unfeature.errors import BadFile, BadOption

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_KEY = 2**16
"""Bytes of a key file."""


def sign(data: bytes, key: Path) -> tuple[bytes, bytes]:
    """The signature (64 bytes) by the private key in that file, and the public key as PEM. BadFile, BadOption."""
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw, made = _read(key), "Make one:  openssl genpkey -algorithm ed25519 -out KEY.pem"
    try:
        private = load_pem_private_key(raw, None)
    except TypeError:
        raise BadFile(
            f"{key} is locked with a passphrase; expected a key without one. "
            f"Unlock a copy:  openssl pkey -in {shlex.quote(str(key))} -out UNLOCKED.pem"
        ) from None
    except Exception as error:
        raise BadFile(f"{key} holds no private key in PEM; expected an Ed25519 one. {made}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadFile(f"{key} holds a {type(private).__name__}; expected an Ed25519 private key. {made}")
    return private.sign(data), _pem(private.public_key())


def public_key(key: Path) -> bytes:
    """The public key in that file, as PEM in its one form; BadFile, BadOption."""
    found = _public(_read(key))
    if found is None:
        raise BadFile(
            f"{key} holds no public Ed25519 key in PEM; expected the signer's. "
            "It is made from the private one:  openssl pkey -in KEY.pem -pubout -out PUBLIC.pem"
        )
    return _pem(found)


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a public key (its DER form); empty for anything but PEM of one in its one form. BadOption."""
    key = _public(pem)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if key is None or _pem(key) != pem:
        return ""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_signed(data: bytes, signature: bytes, pem: bytes) -> bool:
    """Whether that key made that signature of exactly these bytes."""
    key = _public(pem)
    if key is None:
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _public(pem: bytes) -> Ed25519PublicKey | None:
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(pem)
    except Exception:  # of many kinds, some of them private to the library
        return None
    return found if isinstance(found, Ed25519PublicKey) else None


def _pem(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _need_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise BadOption(
            "signatures need the package cryptography, which is not installed. "
            'Install it:  pip install "unfeature[sign]"'
        ) from error


def _read(key: Path) -> bytes:
    try:
        with open(key, "rb") as file:
            return file.read(MAX_KEY)
    except OSError as error:
        raise BadFile(f"cannot read {key}: {error.strerror}. Check the path.") from error

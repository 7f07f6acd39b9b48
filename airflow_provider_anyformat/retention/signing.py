"""Ed25519 signatures of summaries; ``cryptography`` is loaded where one is made or checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from airflow_provider_anyformat.exceptions import AnyformatValueError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_FILE = "summary.sig"
# A seed, and a raw public key.
_RAW_BYTES = 32
_HOW = "make one with openssl genpkey -algorithm ed25519"


class Signer:
    """
    Signs summaries with one private key.

    :param secret: the key as PEM (PKCS #8, not encrypted), or the 32 bytes of its seed in base64.
    :raises AnyformatValueError: it is not an Ed25519 private key. The message does not show it.
    """

    def __init__(self, secret: str | None) -> None:
        self._key = _private_key(secret or "")
        self.public_key = PublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self._key.sign(data)


class PublicKey:
    """A public key; :meth:`read` makes one of a file."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.sha256 = hashlib.sha256(key.public_bytes_raw()).hexdigest()

    @classmethod
    def read(cls, data: bytes, where: str) -> PublicKey:
        """
        Read a public key: PEM, 32 raw bytes, or these in base64.

        :param where: the file's name, for the message.
        :raises AnyformatValueError: it is not one.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError:
            raise AnyformatValueError(
                "--public-key: to check signatures, install cryptography: pip install cryptography"
            ) from None
        try:
            if data.lstrip().startswith(b"-----"):
                key = load_pem_public_key(data)
            else:
                key = Ed25519PublicKey.from_public_bytes(data if len(data) == _RAW_BYTES else _decoded(data))
            if not isinstance(key, Ed25519PublicKey):
                raise TypeError
        except Exception:  # noqa: BLE001 - cryptography has many; none of them says more
            raise AnyformatValueError(
                f"--public-key: {where} is not an Ed25519 public key; write one with openssl pkey -in key.pem -pubout"
            ) from None
        return cls(key)

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Say whether ``signature`` is this key's of ``data``."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def _private_key(secret: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if secret.lstrip().startswith("-----"):
            # A connection in an environment variable has its line breaks escaped.
            key = load_pem_private_key(secret.strip().replace("\\n", "\n").encode(), password=None)
        else:
            key = Ed25519PrivateKey.from_private_bytes(_decoded(secret.encode()))
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError
    except Exception:  # noqa: BLE001 - whatever it says might show the key
        raise AnyformatValueError(
            "signing_conn_id: the connection's password is not an Ed25519 private key, as PEM or as the base64 text of"
            f" its 32-byte seed; {_HOW}"
        ) from None
    return key


def _decoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return b""

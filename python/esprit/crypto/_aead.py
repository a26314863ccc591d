"""``AESGCM`` and ``ChaCha20Poly1305``, as the ``cryptography`` package shapes them."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NoReturn

from esprit import _native
from esprit.crypto._errors import InvalidTag
from esprit.crypto._pool import Pool, default_pool

if TYPE_CHECKING:
    from esprit._native import AeadKey, Algorithm, Work

#: What is taken for bytes; anything else with a contiguous buffer of bytes is taken as well.
BytesLike = bytes | bytearray | memoryview

#: One message of a batch: nonce, data, additional data.
Message = tuple[BytesLike, BytesLike, BytesLike | None]

#: Bytes of the tag, at the end of what ``encrypt`` returns.
TAG_LEN = 16
#: Bytes of the nonce that engines take (RFC 4106, RFC 8439).
NONCE_LEN = 12
# What cryptography's classes take at most.
_MAX_LEN = 2**31 - 1


class _Aead:
    """What the two ciphers share.

    An object may be used by any number of threads and event loops at a time.
    """

    __slots__ = ("_key", "_pool")

    def __init__(self, algorithm: "Algorithm", key: bytes, pool: Pool | None) -> None:
        self._key: AeadKey = _native.AeadKey(algorithm, key)
        self._pool = pool

    @property
    def pool(self) -> Pool:
        """The pool that does the work."""
        return default_pool() if self._pool is None else self._pool

    def close(self) -> None:
        """Let go of the key; it is cleansed in memory. The object does no more work."""
        self._key.clear()

    # one message

    def encrypt(
        self, nonce: BytesLike, data: BytesLike, associated_data: BytesLike | None
    ) -> bytes:
        """Encrypt and authenticate ``data``, and authenticate ``associated_data`` with it.

        Args:
            nonce: 12 bytes, never used before with this key.
            data: What is encrypted.
            associated_data: What is authenticated only, or None.

        Returns:
            The ciphertext, and the tag of 16 bytes behind it.

        Raises:
            esprit.errors.TaskFailed: no engine could do it.
        """
        message = _message(nonce, data, associated_data)
        return _verified(self.pool.run(self._key, "seal", [message])[0])

    def decrypt(
        self, nonce: BytesLike, data: BytesLike, associated_data: BytesLike | None
    ) -> bytes:
        """Authenticate and decrypt what :meth:`encrypt` returned.

        Raises:
            InvalidTag: it is not what was encrypted with this key, nonce and additional data.
            esprit.errors.TaskFailed: no engine could do it.
        """
        message = _message(nonce, data, associated_data)
        return _verified(self.pool.run(self._key, "open", [message])[0])

    def encrypt_into(
        self,
        nonce: BytesLike,
        data: BytesLike,
        associated_data: BytesLike | None,
        buf: bytearray | memoryview,
    ) -> int:
        """As :meth:`encrypt`, into ``buf``; returns the bytes written, which must be its size."""
        message = _message(nonce, data, associated_data)
        _fits(buf, len(message[1]) + TAG_LEN)
        return _put(buf, _verified(self.pool.run(self._key, "seal", [message])[0]))

    def decrypt_into(
        self,
        nonce: BytesLike,
        data: BytesLike,
        associated_data: BytesLike | None,
        buf: bytearray | memoryview,
    ) -> int:
        """As :meth:`decrypt`, into ``buf``; returns the bytes written, which must be its size."""
        message = _message(nonce, data, associated_data)
        if len(message[1]) < TAG_LEN:
            raise InvalidTag
        _fits(buf, len(message[1]) - TAG_LEN)
        return _put(buf, _verified(self.pool.run(self._key, "open", [message])[0]))

    # many messages

    def encrypt_many(self, messages: Iterable[Message]) -> list[bytes]:
        """Encrypt messages ``(nonce, data, associated_data)`` as batches, over all engines.

        Returns:
            One ciphertext for each, in their order.
        """
        found = self.pool.run(self._key, "seal", [_message(*one) for one in messages])
        return [_verified(one) for one in found]

    def decrypt_many(self, messages: Iterable[Message]) -> list[bytes | InvalidTag]:
        """Decrypt messages ``(nonce, data, associated_data)`` as batches, over all engines.

        Returns:
            For each, in their order, the plaintext, or the exception that :meth:`decrypt` would
            have raised: one forgery does not spoil the others.
        """
        found = self.pool.run(self._key, "open", [_message(*one) for one in messages])
        return [InvalidTag() if one is None else one for one in found]

    # without waiting

    async def encrypt_async(
        self, nonce: BytesLike, data: BytesLike, associated_data: BytesLike | None
    ) -> bytes:
        """As :meth:`encrypt`, without blocking the event loop."""
        return _verified(await self._begin("seal", _message(nonce, data, associated_data)))

    async def decrypt_async(
        self, nonce: BytesLike, data: BytesLike, associated_data: BytesLike | None
    ) -> bytes:
        """As :meth:`decrypt`, without blocking the event loop."""
        return _verified(await self._begin("open", _message(nonce, data, associated_data)))

    async def encrypt_many_async(self, messages: Iterable[Message]) -> list[bytes]:
        """As :meth:`encrypt_many`, without blocking the event loop."""
        taken = [_message(*one) for one in messages]
        found = await self.pool.run_async(self._key, "seal", taken)
        return [_verified(one) for one in found]

    async def decrypt_many_async(self, messages: Iterable[Message]) -> list[bytes | InvalidTag]:
        """As :meth:`decrypt_many`, without blocking the event loop."""
        taken = [_message(*one) for one in messages]
        found = await self.pool.run_async(self._key, "open", taken)
        return [InvalidTag() if one is None else one for one in found]

    async def _begin(self, work: "Work", message: tuple[bytes, bytes, bytes]) -> bytes | None:
        return await self.pool.begin(self._key, work, message)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r}: it holds a key")


class AESGCM(_Aead):
    """AES in Galois/Counter Mode, with keys of 128 or 256 bits.

    As :class:`cryptography.hazmat.primitives.ciphers.aead.AESGCM`, but for two things: a nonce
    has 12 bytes, and there is no AES-192: both are what the engines do.

    Args:
        key: 16 or 32 bytes.
        pool: Who does the work; by default the processors of this process.

    Raises:
        ValueError: the key is of another length.
    """

    __slots__ = ()

    _BITS: ClassVar[dict[int, "Algorithm"]] = {128: "aes-128-gcm-16", 256: "aes-256-gcm-16"}

    def __init__(self, key: BytesLike, *, pool: Pool | None = None) -> None:
        material = _bytes(key)
        algorithm = self._BITS.get(8 * len(material))
        if algorithm is None:
            raise ValueError("AESGCM key must be 128 or 256 bits.")
        super().__init__(algorithm, material, pool)

    @classmethod
    def generate_key(cls, bit_length: int) -> bytes:
        """Return a fresh key of ``bit_length`` bits, 128 or 256."""
        if bit_length not in cls._BITS:
            raise ValueError("bit_length must be 128 or 256")
        return os.urandom(bit_length // 8)


class ChaCha20Poly1305(_Aead):
    """ChaCha20 and Poly1305 (RFC 8439).

    As :class:`cryptography.hazmat.primitives.ciphers.aead.ChaCha20Poly1305`.

    Args:
        key: 32 bytes.
        pool: Who does the work; by default the processors of this process.

    Raises:
        ValueError: the key is of another length.
    """

    __slots__ = ()

    def __init__(self, key: BytesLike, *, pool: Pool | None = None) -> None:
        material = _bytes(key)
        if len(material) != 32:
            raise ValueError("ChaCha20Poly1305 key must be 32 bytes.")
        super().__init__("chacha20-poly1305", material, pool)

    @classmethod
    def generate_key(cls) -> bytes:
        """Return a fresh key of 32 bytes."""
        return os.urandom(32)


def _bytes(value: BytesLike) -> bytes:
    """Copy a buffer that somebody may write to; bytes are taken as they are."""
    if type(value) is bytes:
        return value
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(f'Cannot convert "{type(value)}" instance to a buffer.') from None
    with view:
        if not view.contiguous:
            raise BufferError("Buffer is not contiguous.")
        return view.tobytes()


def _message(
    nonce: BytesLike, data: BytesLike, associated_data: BytesLike | None
) -> tuple[bytes, bytes, bytes]:
    taken = (
        _bytes(nonce),
        _bytes(data),
        b"" if associated_data is None else _bytes(associated_data),
    )
    if len(taken[0]) != NONCE_LEN:
        raise ValueError(f"Nonce must be {NONCE_LEN} bytes")
    if len(taken[1]) > _MAX_LEN or len(taken[2]) > _MAX_LEN:
        raise OverflowError("Data or associated data too long. Max 2**31 - 1 bytes")
    return taken


def _verified(found: bytes | None) -> bytes:
    if found is None:
        raise InvalidTag
    return found


def _fits(buf: bytearray | memoryview, length: int) -> None:
    with memoryview(buf) as view:
        if view.nbytes != length:
            raise ValueError(f"buffer must be {length} bytes")


def _put(buf: bytearray | memoryview, found: bytes) -> int:
    with memoryview(buf) as view, view.cast("B") as flat:
        flat[:] = found
    return len(found)

"""Authenticated encryption for applications, done by a pool of engines.

The classes have the shape of ``cryptography.hazmat.primitives.ciphers.aead``::

    from esprit.crypto import AESGCM

    aead = AESGCM(AESGCM.generate_key(bit_length=256))
    sealed = aead.encrypt(nonce, b"data", b"additional data")
    sealed = aead.encrypt_many([(nonce1, b"data", None), (nonce2, b"more", None)])
    sealed = await aead.encrypt_async(nonce, b"data", None)

See ``docs/crypto.md`` for what is done where.
"""

from esprit.crypto._aead import AESGCM, ChaCha20Poly1305
from esprit.crypto._errors import InvalidTag
from esprit.crypto._pool import EngineStatistics, Pool, PoolStatistics, default_pool
from esprit.crypto.load import Load, LoadResource
from esprit.model import EngineSpec

__all__ = [
    "AESGCM",
    "ChaCha20Poly1305",
    "EngineSpec",
    "EngineStatistics",
    "InvalidTag",
    "Load",
    "LoadResource",
    "Pool",
    "PoolStatistics",
    "default_pool",
]

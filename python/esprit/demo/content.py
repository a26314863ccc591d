"""What is downloaded: random bytes in which a canary stands in every segment.

A canary is 16 random bytes. It is written over the random bytes once in every `SPACING` bytes, so
that any run of `SPACING + 15` bytes or more holds a whole one: every TCP segment that is not the
short last one of a write does, whatever its size limit. The bytes depend on the seed and the
position alone, so that one end can say what the other must have received.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

CANARY_LEN = 16
#: A segment of the smallest IPv6 path (1280 octets, RFC 8200 section 5) still holds several.
SPACING = 256
#: Content is made, sent and checked in blocks of this many bytes.
BLOCK = 256 * 1024
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An object of `size` bytes; `size` is a multiple of BLOCK."""

    seed: bytes
    canary: bytes
    size: int

    def __post_init__(self) -> None:
        if len(self.canary) != CANARY_LEN or self.size % BLOCK:
            raise ValueError(f"a canary has {CANARY_LEN} bytes and a size is a multiple of {BLOCK}")

    def block(self, index: int) -> bytearray:
        """The bytes from `index * BLOCK` on."""
        # AES-128 in counter mode over zeros: each block has counters of its own.
        key = hashlib.sha256(b"esprit demo content" + self.seed).digest()[:16]
        start = struct.pack(">QQ", index, 0)
        out = bytearray(BLOCK + 15)
        stream = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()
        stream.update_into(_ZEROS, out)
        del out[BLOCK:]
        for place, byte in enumerate(self.canary):
            out[place::SPACING] = bytes((byte,)) * (BLOCK // SPACING)
        return out

    def blocks(self) -> Iterator[bytearray]:
        """The whole object in order."""
        return (self.block(index) for index in range(self.size // BLOCK))


_ZEROS = bytes(BLOCK)

"""Key material that does not show itself."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NoReturn

#: Bytes of salt at the end of the key material of AES-GCM (RFC 4106, section 8.1).
SALT_LEN: Final = 4

#: Bytes of key material, salt included, for AES-128 and AES-256.
KEY_LENGTHS: Final = {16 + SALT_LEN: "aes-128-gcm-16", 32 + SALT_LEN: "aes-256-gcm-16"}


class Key:
    """An AES-GCM key with its salt, as one ESP security association takes it.

    It prints as its cipher alone, cannot be pickled, and can be wiped. Two keys are equal
    if key and salt are; that remains true after a wipe.

    Args:
        material: AES key followed by the 4-byte salt: 20 or 36 bytes.

    Raises:
        ValueError: the length fits no cipher. The text has the length, never the bytes.
    """

    __slots__ = ("_digest", "_material", "_wiped", "cipher")

    cipher: str

    def __init__(self, material: bytes | bytearray) -> None:
        cipher = KEY_LENGTHS.get(len(material))
        if cipher is None:
            raise ValueError(f"{len(material)} bytes are no key of aes-gcm-16")
        self.cipher = cipher
        self._material = bytearray(material)
        self._wiped = False
        self._digest = hashlib.sha256(b"esprit key\0" + material).digest()

    @classmethod
    def from_hex(cls, text: str) -> Key:
        """Read hexadecimal digits; a leading ``0x`` and separators ``:`` are allowed.

        Raises:
            ValueError: these are no hexadecimal digits, or the length fits no cipher.
        """
        digits = text.strip().removeprefix("0x").replace(":", "")
        try:
            material = bytearray.fromhex(digits)
        except ValueError:
            # The original error quotes where the text goes wrong.
            raise ValueError("is not hexadecimal") from None
        try:
            return cls(material)
        finally:
            material[:] = bytes(len(material))

    def reveal(self) -> bytes:
        """Key and salt, for the data plane.

        Raises:
            ValueError: it was wiped.
        """
        if self._wiped:
            raise ValueError("this key was wiped")
        return bytes(self._material)

    def wipe(self) -> None:
        """Overwrite the material. Copies that Python made on the way here may live longer."""
        self._material[:] = bytes(len(self._material))
        self._wiped = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"<key of {self.cipher}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")

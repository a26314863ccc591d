"""The one exception that callers of an AEAD catch.

It is ``cryptography``'s own where that package is there, so that code which catches that one
need not change. It says nothing: what was wrong with a forgery is nobody's business.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:

    class _Base(Exception):  # noqa: N818 - cryptography's name
        """``cryptography.exceptions.InvalidTag``, or nothing."""

else:
    try:
        from cryptography.exceptions import InvalidTag as _Base
    except ImportError:
        _Base = Exception


class InvalidTag(_Base):
    """The tag does not fit: another key, nonce or additional data, or the data were changed."""


InvalidTag.__module__ = "esprit.crypto"

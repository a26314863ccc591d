"""When engines are tested, and what is known against them.

The tests themselves run in the data plane, beside the engines: known answers, a round trip
through another implementation, the rates. Here is decided when one is tested again, and the
evidence is kept for those who ask why it is out.
"""

from esprit.verify.evidence import Evidence, Trouble
from esprit.verify.retests import Retests

__all__ = ["Evidence", "Retests", "Trouble"]

r"""The operator's file: TOML in, the model out, one line for each fault.

>>> from esprit import config
>>> found = config.read('[team]\nname = "team0"\n[[member]]\ninterface = "eth1"')
>>> found.team.mode, found.members[0].interface
('active-backup', 'eth1')

The single tables are for requests to a running team, which say the same in the same words.
"""

from esprit.config.difference import Change, Difference, diff
from esprit.config.files import engine, load, load_all, member, policy, read, sa, settings

__all__ = [
    "Change",
    "Difference",
    "diff",
    "engine",
    "load",
    "load_all",
    "member",
    "policy",
    "read",
    "sa",
    "settings",
]

"""The words with a fixed set of values, the same in files, over the wire and in Rust."""

from __future__ import annotations

from typing import Final, Literal, get_args

ModeName = Literal["active-backup", "balance-alb"]
Software = Literal["always", "overflow", "never"]
#: ``better``: a member of a higher priority, or the preferred one, takes the traffic back from one
#: that works; ``always``: also one of the same priority that stands earlier in the file.
Failback = Literal["always", "better", "never"]
Delivery = Literal["return", "direct", "auto"]
Receive = Literal["single", "balance"]
SourceMac = Literal["team", "member"]
EngineKind = Literal["cpu", "asic"]
Direction = Literal["out", "in"]
SaMode = Literal["tunnel", "transport"]
EspAlgorithm = Literal["aes-gcm-16"]
Action = Literal["protect", "bypass", "discard"]

#: Whether a member's link can carry frames: ``gone`` is an interface that was deleted or
#: unplugged, which no link event brings back; its port has to be rebuilt.
Link = Literal["up", "down", "gone"]

#: What is held of an engine. Only ``ok`` and ``suspect`` ones work: a suspect engine is
#: watched by the pool, which knows more of the moment than a Plan does. ``failed`` is by a
#: test; ``quarantined``, by the pool, for failing too often or computing wrongly.
Health = Literal["untested", "ok", "suspect", "hung", "quarantined", "failed"]

#: What a member does at the moment. ``deaf``: its link is up, and nothing is heard by it.
Role = Literal["active", "waiting", "encryption-only", "deaf", "down"]

MODES: Final[tuple[ModeName, ...]] = get_args(ModeName)

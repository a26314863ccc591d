"""Teams in virtual time: the shipped worker, pool, engines and modes, without root or a clock.

>>> from esprit import sim
>>> report = sim.run("n-stacks", seed=7)  # doctest: +SKIP
>>> report.violation is None and report.unmet == ()  # doctest: +SKIP
True

A scenario is a value (:class:`Scenario`), a TOML file, or the name of one that is shipped. While it
runs, every packet is opened by a peer and the rules of the design are checked; the first that is
broken ends the run with its seed, time and rule. The same seed gives the same bytes.
"""

from esprit.sim.chance import fuzz
from esprit.sim.files import load, read, shipped
from esprit.sim.placement import Candidate, Job, Placement
from esprit.sim.report import Report, Violation
from esprit.sim.run import run
from esprit.sim.scenario import Application, Fault, Member, Sas, Scenario, Team, Traffic

__all__ = [
    "Application",
    "Candidate",
    "Fault",
    "Job",
    "Member",
    "Placement",
    "Report",
    "Sas",
    "Scenario",
    "Team",
    "Traffic",
    "Violation",
    "fuzz",
    "load",
    "read",
    "run",
    "shipped",
]

"""The trials of a live team, by the name that `python -m bench` knows them by."""

from bench.trial import Trial
from bench.trials import takeover

TRIALS: dict[str, Trial] = {
    "takeover": takeover.TRIAL,
}

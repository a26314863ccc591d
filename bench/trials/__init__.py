"""The trials of a live team, by the name that `python -m bench` knows them by."""

from bench.trial import Trial
from bench.trials import (
    alb,
    deaf,
    direct,
    falsealarm,
    faults,
    offload,
    plain,
    pool,
    simlive,
    takeover,
)

TRIALS: dict[str, Trial] = {
    "takeover": takeover.TRIAL,
    "deaf": deaf.TRIAL,
    "falsealarm": falsealarm.TRIAL,
    "faults": faults.TRIAL,
    "alb": alb.TRIAL,
    "direct": direct.TRIAL,
    "offload": offload.TRIAL,
    "pool": pool.TRIAL,
    "plain": plain.TRIAL,
    "simlive": simlive.TRIAL,
}

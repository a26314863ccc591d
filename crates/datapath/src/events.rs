//! What the data plane tells Python. Events are hints: Python rebuilds its state from
//! snapshots, never from events, so a lost one costs a look, not the truth.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use esprit_crypto::{PoolEvent, Wake};
use esprit_packet::Time;
use serde::Serialize;

/// Events kept until Python reads them. At failover speed (a few per fault) this is hundreds
/// of faults; beyond it one `lost` line stands for the rest.
const LIMIT: usize = 1024;

/// Something happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A member's link rose or fell.
    Link {
        /// The member.
        member: u32,
        /// Whether frames can pass.
        up: bool,
        /// The link epoch this began.
        epoch: u64,
    },
    /// A worker moved a team's traffic by itself.
    Takeover {
        /// The team.
        team: u32,
        /// The member that was lost.
        from: u32,
        /// The member that now sends or receives in its stead.
        to: Option<u32>,
        /// The link epoch of the loss.
        epoch: u64,
    },
    /// A member's port is beyond repair (its netdev was deleted): it is to be rebuilt.
    PortGone {
        /// The member.
        member: u32,
        /// The link epoch this began.
        epoch: u64,
    },
    /// Probes found a member deaf, and it was latched; or it has been heard again for the hold
    /// time, and a Plan that knows it may use it.
    Probe {
        /// The member.
        member: u32,
        /// Which of the two.
        heard: bool,
        /// The link epoch this began.
        epoch: u64,
    },
    /// No member of a team has a working path, so that nobody can be told from the others.
    ProbeTie {
        /// The team.
        team: u32,
    },
    /// A member's sends failed again and again, and it was latched.
    TxErrors {
        /// The member.
        member: u32,
        /// How many in a row.
        count: u32,
        /// The link epoch this began.
        epoch: u64,
    },
    /// Something about an engine.
    Engine {
        /// What, as the pool says it.
        #[serde(flatten)]
        event: PoolEvent,
    },
    /// An outbound SA has used half of the numbers granted to it.
    SaGrant {
        /// The SA.
        sa: u32,
        /// The next number it will use.
        next: u64,
    },
    /// An outbound SA has no numbers left and is to be replaced.
    SaExhausted {
        /// The SA.
        sa: u32,
    },
    /// A data-plane thread failed. Its doors are closed: nothing leaves, in plain or sealed.
    Panic {
        /// The message.
        message: String,
    },
    /// The queue was full.
    Lost {
        /// How many events were not kept.
        count: u64,
    },
}

/// An event with its time.
#[derive(Clone, Debug, Serialize)]
pub struct Stamped {
    /// Nanoseconds of the data plane's clock (CLOCK_MONOTONIC live).
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Stamped>,
    lost: u64,
}

/// The bounded queue between a worker and Python. The lock is held for a push or a swap,
/// never while anything waits.
#[derive(Clone)]
pub struct Events {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<dyn Wake>,
}

impl Events {
    /// A queue whose readers are woken by `wake`.
    #[must_use]
    pub fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            queue: Arc::default(),
            wake,
        }
    }

    /// Adds an event, or counts it as lost.
    pub fn push(&self, now: Time, event: Event) {
        {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.events.len() < LIMIT {
                queue.events.push_back(Stamped { time: now.0, event });
            } else {
                queue.lost += 1;
            }
        }
        self.wake.wake();
    }

    /// Takes all that happened since the last call, in order; a `lost` line last.
    #[must_use]
    pub fn drain(&self) -> Vec<Stamped> {
        let taken = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            core::mem::take(&mut *queue)
        };
        let mut events = Vec::from(taken.events);
        if taken.lost > 0 {
            let time = events.last().map_or(0, |last| last.time);
            events.push(Stamped {
                time,
                event: Event::Lost { count: taken.lost },
            });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;
    impl Wake for Silent {
        fn wake(&self) {}
    }

    #[test]
    fn overflow_is_one_line_that_counts() {
        let events = Events::new(Arc::new(Silent));
        for member in 0..LIMIT as u32 + 3 {
            events.push(
                Time(7),
                Event::Link {
                    member,
                    up: false,
                    epoch: 1,
                },
            );
        }
        let drained = events.drain();
        assert_eq!(drained.len(), LIMIT + 1);
        assert!(matches!(
            drained.last().unwrap().event,
            Event::Lost { count: 3 }
        ));
        assert!(events.drain().is_empty());
    }
}

//! Which engines lack what an SA needs besides its algorithm, by what they declare.

use crate::engine::Capabilities;
use crate::key::Needs;
use crate::seats::SeatSet;

/// All engines' limits, by seat.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    no_esn: SeatSet,
    windows: Vec<u32>,
    /// The smallest of them: no seat lacks a window that is no larger.
    narrowest: u32,
}

impl Limits {
    /// Those of these engines, in the order of their seats.
    pub(crate) fn of<'a>(seats: impl Iterator<Item = &'a Capabilities>) -> Self {
        let mut limits = Self::default();
        for (seat, capabilities) in seats.enumerate() {
            if !capabilities.esn {
                limits.no_esn.insert(seat);
            }
            limits.windows.push(capabilities.max_replay_window);
        }
        limits.narrowest = limits.windows.iter().copied().min().unwrap_or(u32::MAX);
        limits
    }

    /// Seats that cannot work for an SA that needs this.
    pub(crate) fn lacking(&self, needs: Needs) -> SeatSet {
        let mut lacking = if needs.esn {
            self.no_esn
        } else {
            SeatSet::EMPTY
        };
        if needs.replay_window > self.narrowest {
            for (seat, &window) in self.windows.iter().enumerate() {
                if window < needs.replay_window {
                    lacking.insert(seat);
                }
            }
        }
        lacking
    }
}

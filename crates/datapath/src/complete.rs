//! What engines give back, handed to the SA that asked.

use esprit_crypto::Done;
use esprit_packet::Time;

use crate::flight::Flight;
use crate::sa::Ready;
use crate::verdict::DropReason;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn handle_done(&mut self, _now: Time, done: Done) {
        let (ticket, result) = match done {
            Done::Complete {
                ticket,
                dst,
                bad_icv,
                ..
            } => (ticket, Some((dst, bad_icv))),
            Done::Lost { ticket, .. } => (ticket, None),
        };
        match self.flights.remove(&ticket) {
            Some(Flight::Seal(sa_id, place)) => {
                if let Some(sa) = self.sas.outbound.get_mut(&sa_id) {
                    let drops = &mut sa.drops;
                    sa.release.finish(place, |meta| match result {
                        Some((dst, bad_icv)) => Some(Ready { meta, dst, bad_icv }),
                        None => {
                            drops.count(DropReason::EngineLost, meta.packets());
                            None
                        }
                    });
                }
                self.handle_sealed(sa_id);
            }
            Some(Flight::Open(sa_id, place)) => {
                if let Some(sa) = self.sas.inbound.get_mut(&sa_id) {
                    let drops = &mut sa.drops;
                    sa.release.finish(place, |meta| match result {
                        Some((dst, bad_icv)) => Some(Ready { meta, dst, bad_icv }),
                        None => {
                            drops.count(DropReason::EngineLost, meta.packets());
                            None
                        }
                    });
                }
                self.handle_opened(sa_id);
            }
            None => {}
        }
    }
}

//! What engines give back, handed to the SA that asked.

use esprit_crypto::{Done, EngineId};

use esprit_packet::Buf;

use crate::draft::Sealing;
use crate::flight::Flight;
use crate::inbound::Opening;
use crate::release::{Place, Release};
use crate::sa::Ready;
use crate::verdict::DropReason;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn handle_done(&mut self, done: Done) {
        let Some(done) = self.application_done(done) else {
            return;
        };
        let (ticket, result) = match done {
            Done::Complete {
                ticket,
                engine,
                dst,
                bad_icv,
                input,
                ..
            } => {
                // Of an opened job the input is needed until it is delivered.
                self.spares.give_input(input);
                (ticket, Some((engine, dst, bad_icv)))
            }
            Done::Lost {
                ticket,
                request,
                engine,
                ..
            } => {
                self.note_job_drop(DropReason::EngineLost, &request, engine);
                (ticket, None)
            }
        };
        match self.flights.remove(&ticket) {
            Some(Flight::Seal(sa_id, place)) => {
                if let Some(sa) = self.sas.outbound.get_mut(&sa_id) {
                    let lost = finish(&mut sa.release, place, result, Sealing::packets);
                    sa.drops.count(DropReason::EngineLost, lost);
                }
                self.handle_sealed(sa_id);
            }
            Some(Flight::Open(sa_id, place)) => {
                if let Some(sa) = self.sas.inbound.get_mut(&sa_id) {
                    let lost = finish(&mut sa.release, place, result, Opening::packets);
                    sa.drops.count(DropReason::EngineLost, lost);
                }
                self.handle_opened(sa_id);
            }
            None => {}
        }
    }
}

/// Makes the entry at `place` ready, or a tombstone; answers how many packets were lost.
fn finish<W>(
    release: &mut Release<W, Ready<W>>,
    place: Place,
    result: Option<(EngineId, Buf, u64)>,
    packets: impl Fn(&W) -> u64,
) -> u64 {
    let mut lost = 0;
    release.finish(place, |meta| {
        let Some((engine, dst, bad_icv)) = result else {
            lost = packets(&meta);
            return None;
        };
        Some(Ready {
            meta,
            dst,
            engine,
            bad_icv,
        })
    });
    lost
}

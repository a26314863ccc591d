//! What a worker holds between two steps: for simulations, which keep accounts of it.
//!
//! [`Worker::levels`] shows all that has a bound (rule 6), [`Worker::held`] counts the packets that
//! were taken in and have neither left nor been dropped (rule 5), [`Worker::dropped`] those that
//! were. Each walks over members, teams and SAs, but over no engine's jobs and no buffer.

use std::collections::VecDeque;

use esprit_crypto::Level;
use esprit_packet::TxFrame;

use crate::draft::Sealing;
use crate::hold;
use crate::inbound::Opening;
use crate::l2;
use crate::member::TX_QUEUE;
use crate::sa::{IN_FLIGHT, Ready};
use crate::verdict::DropReason;
use crate::worker::{BATCH, Worker};

/// The [`Level::what`] of what waits for a member's device.
pub const MEMBER_QUEUE: &str = "a member's queue";

/// What a member's queue holds at most: as much again as of its own may come from one that was lost,
/// and what is announced goes before a queue that may be full: so few frames that a batch holds them.
const TX_MOST: usize = 2 * TX_QUEUE + BATCH;

/// Frames that wait because their flows move, at most: the batch that filled it up came as a whole.
const HOLD_MOST: usize = hold::FRAMES + BATCH;

/// Packets of the hosts' or of peers' in a queue towards a device. Announcements are the team's own:
/// they alone are queued with their addresses in the body.
fn packets(frames: &VecDeque<TxFrame>) -> u64 {
    let own = |frame: &&TxFrame| frame.head.len() < l2::ADDRESSES;
    let passed = frames.iter().filter(|frame| !own(frame));
    passed.map(TxFrame::packets).sum()
}

impl Worker {
    /// Shows all that has a bound, the pool's included.
    pub fn levels(&self, see: &mut dyn FnMut(Level)) {
        let mut show = |what, of, holds: usize, most: usize| {
            see(Level {
                what,
                of,
                holds: holds as u64,
                most: most as u64,
            });
        };
        for (&id, member) in &self.members {
            show(MEMBER_QUEUE, id, member.tx.len(), TX_MOST);
            let team = self.teams.get(&member.team);
            let prober = team.and_then(|team| team.prober.as_ref());
            // A round's probes, with its own address and a foreign one, and its questions.
            let asks = prober.map_or(0, |prober| prober.asks().len());
            let most = 2 * self.members.len() + asks;
            show("a member's probes", id, member.urgent.len(), most);
        }
        for (&id, team) in &self.teams {
            let held = team.hold.as_ref().map_or(0, hold::Hold::len);
            show("frames of flows that move", id, held, HOLD_MOST);
        }
        for (&id, sa) in &self.sas.outbound {
            show("an SA's jobs", id, sa.release.len(), IN_FLIGHT);
        }
        for (&id, sa) in &self.sas.inbound {
            show("an SA's jobs", id, sa.release.len(), IN_FLIGHT);
        }
        self.pool.levels(see);
    }

    /// Packets taken in that have neither left nor been dropped: those in members' queues, those whose
    /// flows move, those that engines have or the order of their SA holds back, and those on their
    /// way up.
    #[must_use]
    pub fn held(&self) -> u64 {
        let queued = self.members.values().map(|member| packets(&member.tx));
        let waiting = self.teams.values().map(|team| {
            let up: u64 = team.up.iter().map(TxFrame::packets).sum();
            let joined = team.coalescer.packets() as u64;
            up + joined + team.hold.as_ref().map_or(0, hold::Hold::packets)
        });
        let sealing = self.sas.outbound.values().map(|sa| {
            let ready = |ready: &Ready<Sealing>| ready.meta.packets();
            sa.release.sum(Sealing::packets, ready)
        });
        let opening = self.sas.inbound.values().map(|sa| {
            let ready = |ready: &Ready<Opening>| ready.meta.packets();
            sa.release.sum(Opening::packets, ready)
        });
        queued.chain(waiting).chain(sealing).chain(opening).sum()
    }

    /// Packets that were dropped, of all that are or were here. Probes that were refused are none.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let teams = self.teams.values().map(|team| &team.drops);
        let members = self.members.values().map(|member| &member.drops);
        let outbound = self.sas.outbound.values().map(|sa| &sa.drops);
        let inbound = self.sas.inbound.values().map(|sa| &sa.drops);
        let all = teams.chain(members).chain(outbound).chain(inbound);
        all.map(|drops| drops.total() - drops.get(DropReason::ProbeRefused))
            .sum()
    }

    /// Whether no packet and no task is here, so that nothing holds a buffer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.is_empty()
            && self.held() == 0
            && self.members.values().all(|member| member.tx.is_empty())
            && self.applications.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use esprit_crypto::{Pool, Wake};
    use esprit_packet::Pool as Buffers;

    use super::*;
    use crate::command::MemberSpec;
    use crate::events::Events;
    use crate::plan::Mac;
    use crate::team::Team;

    struct Nobody;
    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn beyond(worker: &Worker) -> Vec<(&'static str, u32)> {
        let mut found = Vec::new();
        worker.levels(&mut |level| {
            if level.is_beyond() {
                found.push((level.what, level.of));
            }
        });
        found
    }

    fn frame() -> TxFrame {
        TxFrame {
            head: smallvec::smallvec![0; l2::ADDRESSES],
            ..TxFrame::default()
        }
    }

    #[test]
    fn what_is_held_is_counted_and_one_more_than_may_be_is_shown() {
        let wake: Arc<dyn Wake> = Arc::new(Nobody);
        let pool = Pool::new(Arc::clone(&wake));
        let mut worker = Worker::new(Buffers::new(4, 0), pool, Events::new(wake));
        worker.teams.insert(1, Team::new(1, Mac([2; 6])));
        let _ = worker.member_add(&MemberSpec {
            id: 7,
            team: 1,
            mac: Mac([4; 6]),
            ifindex: 0,
            up: true,
        });
        assert!(worker.is_empty());
        let member = worker.members.get_mut(&7).unwrap();
        member.tx.extend((0..TX_MOST - 1).map(|_| frame()));
        // An announcement is in the queue, and is no packet of anybody's.
        member.push_front(TxFrame::default());
        assert_eq!(worker.held(), TX_MOST as u64 - 1);
        assert_eq!(beyond(&worker), []);
        let member = worker.members.get_mut(&7).unwrap();
        member.tx.push_back(frame());
        member.urgent.extend((0..3).map(|_| TxFrame::default()));
        assert_eq!(
            beyond(&worker),
            [(MEMBER_QUEUE, 7), ("a member's probes", 7)]
        );
        worker.drop_on_member(7, DropReason::PortDown, 5);
        worker.drop_on_member(7, DropReason::ProbeRefused, 2);
        assert_eq!(worker.dropped(), 5);
        let team = worker.teams.get_mut(&1).unwrap();
        team.up.push_back(frame());
        team.drops.count(DropReason::Malformed, 3);
        assert_eq!((worker.held(), worker.dropped()), (TX_MOST as u64 + 1, 8));
    }
}

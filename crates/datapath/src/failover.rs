//! Failover that the worker does by itself.
//!
//! A link that falls latches its member: from that moment nothing is sent on it, whatever an
//! older Plan says and whether the link comes back or not. Only a Plan that was computed from
//! that link epoch or later clears the latch. Until then the Plan's own ranking says who
//! takes over, and its ready-made announcements go out at once.

use esprit_packet::{RxFrame, Time, TxFrame, VnetHdr};
use esprit_port::LinkEvent;

use crate::command::Answer;
use crate::events::Event;
use crate::plan::Plan;
use crate::route::Route;
use crate::verdict::DropReason;
use crate::worker::Worker;

impl Worker {
    /// A link rose, fell, or went for good.
    pub(crate) fn handle_link(&mut self, now: Time, link: LinkEvent) {
        let up = link.up && !link.deleted;
        let changed: Vec<u32> = self
            .members
            .values()
            .filter(|m| m.ifindex != 0 && m.ifindex == link.ifindex && m.up != up)
            .map(|m| m.id)
            .collect();
        for member in changed {
            self.set_link(now, member, up);
        }
    }

    /// The member's port says that its netdev is gone.
    pub(crate) fn port_gone(&mut self, now: Time, member: u32) {
        self.set_link(now, member, false);
        let epoch = self.link_epoch;
        self.events.push(now, Event::PortGone { member, epoch });
    }

    fn set_link(&mut self, now: Time, id: u32, up: bool) {
        self.link_epoch += 1;
        let epoch = self.link_epoch;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.up = up;
        if !up {
            member.latched = Some(epoch);
        }
        let team = member.team;
        self.events.push(
            now,
            Event::Link {
                member: id,
                up,
                epoch,
            },
        );
        if !up {
            self.take_over(now, team, id, epoch);
        }
    }

    /// Moves what `lost` did to the next of the ranking, and its queue with it.
    fn take_over(&mut self, now: Time, team_id: u32, lost: u32, epoch: u64) {
        let Some(team) = self.teams.get_mut(&team_id) else {
            return;
        };
        let Some(plan) = &team.plan else {
            return;
        };
        if !team.route.uses(lost) {
            return;
        }
        let route = Route::compute(plan, |member| {
            self.members.get(&member).is_some_and(|m| m.alive())
        });
        let before = core::mem::replace(&mut team.route, route);
        let heir = team.route.heir_of(lost, &before);
        if let Some(heir) = heir {
            self.announce(team_id, heir);
        }
        self.move_queue(lost);
        self.events.push(
            now,
            Event::Takeover {
                team: team_id,
                from: lost,
                to: heir,
                epoch,
            },
        );
    }

    /// Queues the Plan's announcements for `member`, before anything else that it sends.
    fn announce(&mut self, team: u32, member: u32) {
        let frames = self
            .teams
            .get(&team)
            .and_then(|team| team.plan.as_ref())
            .into_iter()
            .flat_map(|plan| &plan.announce)
            .filter(|announcement| announcement.member == member)
            .flat_map(|announcement| &announcement.frames);
        let mut ready = Vec::new();
        for bytes in frames {
            if let Some(mut buf) = self.buffers.get(bytes.len()) {
                buf.append(bytes);
                let vnet = VnetHdr::default();
                ready.push(TxFrame::pass(RxFrame { vnet, buf }));
            }
        }
        if let Some(member) = self.members.get_mut(&member) {
            for frame in ready.into_iter().rev() {
                member.tx.push_front(frame);
            }
        }
    }

    /// Frames still in our queue for a lost member are sent by the one that took over.
    pub(crate) fn move_queue(&mut self, lost: u32) {
        let Some(member) = self.members.get_mut(&lost) else {
            return;
        };
        let team = member.team;
        let frames = core::mem::take(&mut member.tx);
        for frame in frames {
            // Its flow's share has an heir already; which of the survivors sends it does not
            // matter to the peer, so the one for broadcast serves.
            let heir = self.teams.get(&team).and_then(|team| team.route.single);
            match heir {
                Some(heir) => self.queue_from(lost, heir, frame),
                None => self.drop_on_member(lost, DropReason::PortDown, 1),
            }
        }
    }

    /// Puts a Plan in force. Latches that it knew of are cleared; later ones stay.
    pub fn publish(&mut self, plan: Plan) -> Answer {
        let id = plan.team;
        let Some(team) = self.teams.get_mut(&id) else {
            return Answer::Refused(format!("team {id} does not exist"));
        };
        if let Some(old) = &team.plan
            && old.epoch >= plan.epoch
        {
            return Answer::Refused(format!(
                "plan {} is not newer than plan {}, which is in force",
                plan.epoch, old.epoch
            ));
        }
        for member in self.members.values_mut().filter(|m| m.team == id) {
            if member.latched.is_some_and(|epoch| epoch <= plan.latch) {
                member.latched = None;
            }
        }
        let route = Route::compute(&plan, |member| {
            self.members.get(&member).is_some_and(|m| m.alive())
        });
        self.pool.set_grants(id, plan.grants.clone());
        let epoch = plan.epoch;
        team.plan = Some(plan);
        let before = core::mem::replace(&mut team.route, route);
        // A new receiver tells the switch and the neighbours where it is, on failover and on
        // failback alike.
        if let Some(receiver) = team.route.receiver
            && before.receiver != Some(receiver)
        {
            self.announce(id, receiver);
        }
        let idle: Vec<u32> = self
            .members
            .values()
            .filter(|m| m.team == id && !m.tx.is_empty() && !m.alive())
            .map(|m| m.id)
            .collect();
        for member in idle {
            self.move_queue(member);
        }
        Answer::Epoch(epoch)
    }
}

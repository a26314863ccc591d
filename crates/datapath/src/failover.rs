//! Failover that the worker does by itself.
//!
//! A link that falls latches its member, and so do probes that show it deaf and sends that fail
//! again and again: from that moment nothing is sent on it, whatever an older Plan says and
//! whether the link comes back or not. Only a Plan that was computed from that link epoch or
//! later clears the latch. Until then the Plan's own ranking says who takes over, and its
//! ready-made announcements go out at once.

use esprit_packet::{RxFrame, Time, TxFrame, VnetHdr};
use esprit_port::LinkEvent;

use crate::command::Answer;
use crate::doors::Doors;
use crate::events::Event;
use crate::hold::Hold;
use crate::member::Member;
use crate::plan::Plan;
use crate::route::Route;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// Why a member is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its link fell.
    Link,
    /// Its probes are not heard, or it hears none.
    Deaf,
    /// So many sends failed in a row.
    TxErrors(u32),
}

impl Worker {
    /// A link rose, fell, or went for good.
    pub(crate) fn handle_link(&mut self, now: Time, link: LinkEvent) {
        let up = link.up && !link.deleted;
        let named: Vec<u32> = self
            .members
            .values()
            .filter(|m| m.ifindex != 0 && m.ifindex == link.ifindex)
            .map(|m| m.id)
            .collect();
        for id in named {
            let delay = self.down_delay(id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if up {
                // It was down for less than the delay, or for longer and is told so.
                member.falls_at = None;
                if !member.up {
                    self.rise(now, id);
                }
            } else if member.up && (link.deleted || delay == Time::ZERO) {
                self.lose(now, id, Cause::Link);
            } else if member.up {
                let at = *member.falls_at.get_or_insert(now + delay);
                self.falls = Some(self.falls.map_or(at, |first| first.min(at)));
            }
        }
    }

    fn down_delay(&self, member: u32) -> Time {
        let member = self.members.get(&member);
        let team = member.and_then(|member| self.teams.get(&member.team));
        let plan = team.and_then(|team| team.plan.as_ref());
        Time(plan.map_or(0, |plan| plan.down_delay_ns))
    }

    /// Links that have been down for as long as the Plan says.
    pub(crate) fn handle_falls(&mut self, now: Time) {
        if self.falls.is_none_or(|first| first > now) {
            return;
        }
        let mut fallen = Vec::new();
        self.falls = None;
        for member in self.members.values_mut() {
            match member.falls_at {
                Some(at) if at <= now => fallen.push(member.id),
                Some(at) => self.falls = Some(self.falls.map_or(at, |first| first.min(at))),
                None => {}
            }
        }
        for member in fallen {
            self.lose(now, member, Cause::Link);
        }
    }

    /// The member's port says that its netdev is gone.
    pub(crate) fn port_gone(&mut self, now: Time, member: u32) {
        self.lose(now, member, Cause::Link);
        let epoch = self.link_epoch;
        self.events.push(now, Event::PortGone { member, epoch });
    }

    fn rise(&mut self, now: Time, id: u32) {
        self.link_epoch += 1;
        let epoch = self.link_epoch;
        if let Some(member) = self.members.get_mut(&id) {
            member.up = true;
        }
        self.events.push(
            now,
            Event::Link {
                member: id,
                up: true,
                epoch,
            },
        );
    }

    /// Latches a member and moves what it did to the next of the ranking.
    pub(crate) fn lose(&mut self, now: Time, id: u32, cause: Cause) {
        self.link_epoch += 1;
        let epoch = self.link_epoch;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.latched = Some(epoch);
        let event = match cause {
            Cause::Link => {
                member.up = false;
                member.falls_at = None;
                member.urgent.clear();
                Event::Link {
                    member: id,
                    up: false,
                    epoch,
                }
            }
            Cause::Deaf => {
                member.heard = false;
                Event::Probe {
                    member: id,
                    heard: false,
                    epoch,
                }
            }
            Cause::TxErrors(count) => Event::TxErrors {
                member: id,
                count,
                epoch,
            },
        };
        let team = member.team;
        self.events.push(now, event);
        self.take_over(now, team, id, epoch);
    }

    /// Moves what `lost` did to the next of the ranking, and its queue with it.
    fn take_over(&mut self, now: Time, team_id: u32, lost: u32, epoch: u64) {
        if self.teams.get(&team_id).is_none_or(|t| t.plan.is_none()) {
            return;
        }
        let before = self.reroute(team_id);
        let Some(team) = self.teams.get(&team_id) else {
            return;
        };
        if !before.uses(lost) {
            // It may have sent for others what its engine sealed: that does not wait for a Plan.
            self.move_queue(lost);
            return;
        }
        let heir = team.route.heir_of(lost, &before);
        // The announcements say where the team's address is, which is at the receiver.
        let receiver = team
            .route
            .receiver
            .filter(|_| before.receiver == Some(lost));
        if let Some(receiver) = receiver {
            self.follow_receiver(team_id, &before);
            self.announce(team_id, receiver);
        }
        self.move_queue(lost);
        self.retell(now, team_id);
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

    /// Computes a team's route and doors anew; answers the route that was.
    pub(crate) fn reroute(&mut self, id: u32) -> Route {
        let Some(team) = self.teams.get_mut(&id) else {
            return Route::closed();
        };
        let route = match &team.plan {
            Some(plan) => Route::compute(plan, |member| {
                self.members.get(&member).is_some_and(Member::alive)
            }),
            None => Route::closed(),
        };
        let members = self.members.values().filter(|member| member.team == id);
        let doors = Doors::compute(team.mac, team.plan.as_ref(), members);
        if doors != team.doors {
            team.doors = doors;
            team.doors_moved = true;
        }
        if team.shares.len() != route.shares() {
            team.shares = vec![0; route.shares()];
        }
        core::mem::replace(&mut team.route, route)
    }

    /// What lies unread at the receiver of before came to the right port: until the switch has been
    /// told, there is no other.
    fn follow_receiver(&mut self, team: u32, before: &Route) {
        if let Some(team) = self.teams.get_mut(&team) {
            team.former = before.receiver;
        }
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
        let now = self.now;
        self.contradict(now, team);
        if let Some(member) = self.members.get_mut(&member) {
            for frame in ready.into_iter().rev() {
                member.push_front(frame);
            }
        }
    }

    /// Frames still in our queue for a lost member are sent by the one that took over.
    pub(crate) fn move_queue(&mut self, lost: u32) {
        let Some(member) = self.members.get_mut(&lost) else {
            return;
        };
        let team = member.team;
        let frames = member.take_queue();
        for frame in frames {
            // Its flow's share has an heir already; which of the survivors sends it does not matter
            // to the peer, unless the SA has another member now.
            let heir = self.teams.get(&team).and_then(|team| team.heir(lost));
            match heir {
                Some(heir) => self.queue_from(lost, heir, frame),
                None => self.drop_frame(lost, DropReason::PortDown, &frame),
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
            let role = plan.members.iter().find(|role| role.id == member.id);
            member.carry = role.is_some_and(|role| role.carry);
            member.accept = role.is_some_and(|role| role.accept);
        }
        self.pool.set_grants(id, plan.grants.clone());
        let now = self.now;
        let epoch = plan.epoch;
        team.follow_probe(now, &plan);
        team.follow_receive(&plan);
        let first = team.plan.is_none();
        team.plan = Some(plan);
        self.unprobed(now, id);
        let before = self.reroute(id);
        let Some(team) = self.teams.get_mut(&id) else {
            return Answer::Refused(format!("team {id} does not exist"));
        };
        team.prune_heirs();
        if !first {
            let hold = Hold::between(now, &before, &team.route, |id| self.members.get(&id));
            team.held += u64::from(hold.is_some());
            // Frames that wait already are decided on anew, by this Plan.
            match (&mut team.hold, hold) {
                (Some(old), Some(new)) => old.extend(new),
                (old @ None, new) => *old = new,
                (Some(_), None) => {}
            }
        }
        // A new receiver tells the switch and the neighbours where it is, on failover and on
        // failback alike.
        if let Some(receiver) = team.route.receiver
            && before.receiver != Some(receiver)
        {
            self.follow_receiver(id, &before);
            self.announce(id, receiver);
        }
        self.retell(now, id);
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

//! Probing: whether a member that is up also hears and is heard (row M12).
//!
//! A pure state machine: it is given time, what was heard and which members there are, and
//! says what to send and who is deaf. All members of a team live in one worker, which so knows
//! both ends of every probe.
//!
//! In each round every member sends keyed frames to others ([`frame`]) and may ask neighbours
//! besides. It has a *working path* in a round when it heard and was heard, or when a neighbour
//! answered it. One that had none in `miss` of the last `of` rounds is deaf, if there is somebody
//! to bear witness that the network was not: another member with a working path; or, where there
//! is none (as of two members), another one that still hears frames of strangers. Where all are
//! equally silent nobody is condemned, and that is told once.
//!
//! A busy worker must not take its own delay for a member's: a round that ended late is void,
//! and so is one for a member whose port had not been read empty since the round began.

pub mod frame;
mod party;

use std::collections::BTreeMap;

use esprit_packet::Time;

use crate::plan::{self, Mac};
use frame::{Kind, LEN, ProbeKey, genuine};
use party::{MEMORY, Outcome, Party};

/// Members up to which each probes all others: 56 frames in a round. Beyond it the square of
/// their number would be sent.
const ALL_PAIRS: usize = 8;

/// How many others each member probes in a larger team: other ones in every round.
const PARTNERS: usize = 3;

/// How often it is tried anew whether wires take a foreign source address: a switch learns an
/// address for minutes, so a few frames in ten seconds are no burden to it.
const FOREIGN_EVERY: Time = Time::from_millis(10_000);

/// Rounds in which that is tried before a wire counts as one that does not: one lost frame
/// proves nothing.
const FOREIGN_TRIES: u32 = 3;

/// A member, as the worker knows it at the end of a round.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its id.
    pub id: u32,
    /// Its own address.
    pub mac: Mac,
    /// Whether its link is up.
    pub up: bool,
    /// Whether its port was read empty since the round began.
    pub drained: bool,
    /// Whether it heard a frame that was none of ours since the round began.
    pub strange: bool,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This member has no working path while others have.
    Deaf(u32),
    /// It has had one again for the hold time.
    Hears(u32),
    /// No member has one, so nothing follows.
    Tie,
}

/// Why a frame that claims to be a probe is none, or not one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

/// A frame to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// By this member.
    pub member: u32,
    /// The whole frame.
    pub frame: [u8; LEN],
}

/// What is shown of a member's probing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes that it sent.
    pub sent: u64,
    /// Probes that it heard.
    pub heard: u64,
    /// Rounds without a working path.
    pub missed: u64,
    /// Whether its wire takes a foreign source address.
    pub foreign: Option<bool>,
}

/// The probing of one team.
#[derive(Debug)]
pub struct Prober {
    team: u32,
    team_mac: Mac,
    spec: plan::Probe,
    /// The round under way, which is also the counter of its probes.
    round: u64,
    /// When it began; before the first: nothing is judged.
    began: Option<Time>,
    due: Time,
    parties: BTreeMap<u32, Party>,
    /// That nobody has a working path was told.
    tied: bool,
    /// Whether foreign sources are tried at all.
    try_foreign: bool,
    foreign_at: Time,
    foreign_tries: u32,
}

impl Prober {
    /// Probing of a team as `spec` has it, from `now` on.
    #[must_use]
    pub const fn new(team: u32, team_mac: Mac, spec: plan::Probe, now: Time) -> Self {
        Self {
            team,
            team_mac,
            spec,
            round: 0,
            began: None,
            due: now,
            parties: BTreeMap::new(),
            tied: false,
            try_foreign: false,
            foreign_at: Time::ZERO,
            foreign_tries: 0,
        }
    }

    /// Another Plan: what was learnt stays.
    pub fn set_spec(&mut self, now: Time, spec: plan::Probe) {
        if spec.every_ns != self.spec.every_ns {
            // The round under way has the wrong length.
            self.began = None;
            self.due = now;
        }
        self.spec = spec;
    }

    /// Whether it is tried if wires take foreign source addresses.
    pub const fn set_foreign(&mut self, on: bool) {
        self.try_foreign = on;
    }

    /// When [`Prober::turn`] is due.
    #[must_use]
    pub const fn due(&self) -> Time {
        self.due
    }

    /// Questions to neighbours that a member asks in every round.
    #[must_use]
    pub fn asks(&self) -> &[plan::Ask] {
        &self.spec.asks
    }

    /// When the round under way began.
    #[must_use]
    pub const fn began(&self) -> Option<Time> {
        self.began
    }

    /// Whether this member was found deaf.
    #[must_use]
    pub fn is_deaf(&self, member: u32) -> bool {
        self.parties.get(&member).is_some_and(|party| party.deaf)
    }

    /// What is to be shown of a member.
    #[must_use]
    pub fn tally(&self, member: u32) -> Tally {
        self.parties
            .get(&member)
            .map_or_else(Tally::default, |party| Tally {
                sent: party.sent,
                heard: party.got,
                missed: party.misses,
                foreign: party.foreign,
            })
    }

    /// `member` heard a frame that claims to be a probe.
    ///
    /// # Errors
    /// [`NotOurs`]: not made with the key, not for this member, or heard before.
    pub fn hear(&mut self, member: u32, bytes: &[u8], key: &ProbeKey) -> Result<(), NotOurs> {
        let probe = frame::Probe::parse(bytes).ok_or(NotOurs)?;
        let (team, round) = (self.team, self.round);
        let known = self.parties.contains_key(&probe.from);
        let party = self.parties.get_mut(&member).ok_or(NotOurs)?;
        // A counter counts once, and not for long: what somebody held back proves nothing.
        let fresh = probe.counter <= round
            && probe.counter + u64::from(MEMORY) > round
            && party
                .counters
                .get(&probe.from)
                .is_none_or(|&last| probe.counter > last || probe.kind == Kind::Foreign);
        if probe.team != team || probe.to != member || probe.from == member || !known || !fresh {
            return Err(NotOurs);
        }
        if !genuine(bytes, key) {
            return Err(NotOurs);
        }
        party.got += 1;
        match probe.kind {
            Kind::Path => {
                party.counters.insert(probe.from, probe.counter);
                party.hears = true;
                if let Some(from) = self.parties.get_mut(&probe.from) {
                    from.heard = true;
                }
            }
            Kind::Foreign => {
                if let Some(from) = self.parties.get_mut(&probe.from) {
                    from.foreign_heard = true;
                }
            }
        }
        Ok(())
    }

    /// `member` heard an answer of `address`, if anybody asked for it.
    pub fn hear_answer(&mut self, member: u32, address: core::net::IpAddr) {
        let asked = |ask: &plan::Ask| ask.member == member && ask.address == address;
        if self.spec.asks.iter().any(asked)
            && let Some(party) = self.parties.get_mut(&member)
        {
            party.answered = true;
        }
    }

    /// Ends the round under way, if there is one, and begins the next.
    pub fn turn(&mut self, now: Time, roster: &[Standing]) -> Vec<Finding> {
        let every = Time(self.spec.every_ns.max(1));
        let late = now.since(self.due) > every;
        self.muster(roster);
        let mut found = Vec::new();
        if self.began.is_some() && !late {
            self.judge(now, every, roster, &mut found);
        }
        for party in self.parties.values_mut() {
            party.begin();
        }
        self.round += 1;
        self.began = Some(now);
        self.due = if late { now } else { self.due } + every;
        found
    }

    /// The probes of the round that has just begun.
    pub fn probes(&mut self, now: Time, key: &ProbeKey, out: &mut Vec<Outgoing>) {
        let up: Vec<(u32, Mac)> = self
            .parties
            .iter()
            .filter(|(_, party)| party.up)
            .map(|(&id, party)| (id, party.mac))
            .collect();
        let foreign = self.try_foreign && now >= self.foreign_at;
        for (from, to) in pairs(up.len(), self.round) {
            let ((from, own), (to, dst)) = (up[from], up[to]);
            let probe = frame::Probe {
                kind: Kind::Path,
                team: self.team,
                from,
                to,
                counter: self.round,
                time: now.0,
            };
            let mut send = |frame| {
                out.push(Outgoing {
                    member: from,
                    frame,
                });
            };
            send(probe.emit(key, dst, own));
            let mut sent = 1;
            if foreign {
                let kind = Kind::Foreign;
                let source = self.foreign_source(from);
                send(frame::Probe { kind, ..probe }.emit(key, dst, source));
                sent += 1;
            }
            if let Some(party) = self.parties.get_mut(&from) {
                party.sent += sent;
            }
        }
    }

    fn foreign_source(&self, member: u32) -> Mac {
        let taken = |mac| self.parties.values().any(|party| party.mac == mac);
        frame::foreign_source(self.team_mac, member, taken)
    }

    /// Takes in who there is.
    fn muster(&mut self, roster: &[Standing]) {
        self.parties
            .retain(|&id, _| roster.iter().any(|member| member.id == id));
        for member in roster {
            let party = self.parties.entry(member.id).or_default();
            if party.up != member.up || party.mac != member.mac {
                party.forget();
            }
            party.up = member.up;
            party.mac = member.mac;
        }
    }

    fn judge(&mut self, now: Time, every: Time, roster: &[Standing], found: &mut Vec<Finding>) {
        // Whoever is listened to by nobody but members that have not read yet is not judged.
        let read: Vec<u32> = roster
            .iter()
            .filter(|member| member.up && member.drained)
            .map(|member| member.id)
            .collect();
        for member in roster.iter().filter(|member| member.up) {
            let Some(party) = self.parties.get_mut(&member.id) else {
                continue;
            };
            let listened = read.iter().any(|&other| other != member.id);
            let outcome = if party.answered || (party.hears && party.heard) {
                Outcome::Passed
            } else if (!party.hears && !member.drained) || (!party.heard && !listened) {
                Outcome::Void
            } else {
                Outcome::Missed
            };
            party.end(now, every, outcome, member.strange);
        }
        self.judge_foreign(now);
        self.condemn(found);
        let hold = Time(self.spec.hold_ns);
        for (&id, party) in &mut self.parties {
            if party.deaf && party.up && party.well(now, hold) {
                party.deaf = false;
                found.push(Finding::Hears(id));
            }
        }
    }

    fn condemn(&mut self, found: &mut Vec<Finding>) {
        let of = self.spec.of.clamp(1, MEMORY);
        let miss = self.spec.miss.clamp(1, of);
        let sound = |party: &&Party| party.up && !party.deaf;
        let silent = |party: &Party| party.missed(of) >= miss;
        let witness = self
            .parties
            .values()
            .any(|party| party.up && !silent(party) && party.passed(of));
        let suspects: Vec<u32> = self
            .parties
            .iter()
            .filter(|(_, party)| sound(party) && silent(party))
            .filter(|(id, party)| witness || self.suspicious(**id, party))
            .map(|(&id, _)| id)
            .collect();
        let left = self.parties.values().filter(sound).count();
        if suspects.is_empty() || suspects.len() == left {
            let nobody = left > 1 && self.parties.values().filter(sound).all(silent);
            if nobody && !self.tied {
                found.push(Finding::Tie);
            }
            self.tied = nobody;
            return;
        }
        self.tied = false;
        for id in suspects {
            if let Some(party) = self.parties.get_mut(&id) {
                party.deaf = true;
                found.push(Finding::Deaf(id));
            }
        }
    }

    /// Without a witness: whether another member that still hears strangers shows that it is
    /// this one that is not heard, or that there was something to hear. One that never had a
    /// working path may sit behind a switch that lets no probe pass.
    fn suspicious(&self, id: u32, party: &Party) -> bool {
        let another_hears = self
            .parties
            .iter()
            .any(|(&other, at)| other != id && at.up && !at.deaf && at.strange());
        party.proved && another_hears && (!party.heard || !party.strange())
    }

    fn judge_foreign(&mut self, now: Time) {
        if !self.try_foreign || now < self.foreign_at {
            return;
        }
        self.foreign_tries += 1;
        let last = self.foreign_tries >= FOREIGN_TRIES;
        for party in self.parties.values_mut().filter(|party| party.up) {
            if party.foreign_heard {
                party.foreign = Some(true);
            } else if last && party.heard {
                // Its other probes are heard, so it is the address that the wire does not take.
                party.foreign = Some(false);
            }
        }
        if last {
            self.foreign_tries = 0;
            self.foreign_at = now + FOREIGN_EVERY;
        }
    }
}

/// Who probes whom among `members`, as places in their list: each all others, or in a large team
/// a few that stand far apart in a ring, which is turned on with every round. So whoever fails
/// together (the ports of one card or one switch stand side by side) is never all that one hears.
fn pairs(members: usize, round: u64) -> impl Iterator<Item = (usize, usize)> {
    let others = members.saturating_sub(1);
    let (each, apart, turned) = if members <= ALL_PAIRS {
        (others, 1, 0)
    } else {
        (PARTNERS, others / PARTNERS, round as usize % others)
    };
    (0..members).flat_map(move |from| {
        (0..each).map(move |nth| {
            let distance = 1 + (turned + nth * apart) % others;
            (from, (from + distance) % members)
        })
    })
}

#[cfg(test)]
mod tests;

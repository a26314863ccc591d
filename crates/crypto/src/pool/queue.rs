//! Jobs that wait for an engine: three classes, and in each a fair share for every flow.
//!
//! Classes come one after the other. Within a class, jobs that the same engines may do (of one team and
//! member, algorithm and direction) are a [`Group`]; where its next job finds no engine, no other of
//! it would, but for a shorter one where an engine has headroom for that alone. Groups share by
//! deficit round robin (Shreedhar and Varghese, 1995), each with the weight of the flows in it, and
//! so do the flows of a group: so one flow cannot starve another, and within a flow the order stays.

use std::collections::{BTreeMap, VecDeque};

use crate::grants::Class;
use crate::key::{Algorithm, Direction};

/// What the jobs of a class hold of the process's buffers at most: 4 MiB, 2048 small ones or 54 large
/// ones, so that all three classes together leave a quarter of the small ones (8192) and four
/// fifths of the large ones (768) to plain traffic and to what engines have. At 1 Gbit/s it is a wait of some
/// 30 ms, at the end of which every transport has slowed down.
pub(crate) const CLASS_BYTES: u64 = 4 << 20;

/// No job holds less than a small buffer.
pub(crate) const LEAST_BYTES: u64 = 2048;

/// Jobs of a class at most. Their bytes say so already.
pub(crate) const CLASS_JOBS: usize = (CLASS_BYTES / LEAST_BYTES) as usize;

/// A flow of weight 1 gets so much of a round: one packet of any size fits, and a super-frame waits
/// for some four rounds, while the others get as much.
const QUANTUM: u64 = 16 * 1024;

/// What a packet costs besides its bytes, in bytes: between a device's 60 (50 ns at 0.8 ns a byte) and the
/// processor's 450 (24.5 ns at 0.055 ns).
const PACKET: u64 = 128;

/// What a job takes of an engine's time, measured in bytes: engines differ, shares do not.
pub(crate) const fn cost(packets: u32, bytes: u64) -> u64 {
    bytes + packets as u64 * PACKET
}

/// Which engines a job may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupKey {
    pub(crate) team: u32,
    pub(crate) member: Option<u32>,
    pub(crate) algorithm: Algorithm,
    pub(crate) direction: Direction,
}

/// A job that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: u64,
    pub(crate) cost: u64,
    /// What it holds of the buffers.
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Flow {
    jobs: VecDeque<Waiting>,
    bytes: u64,
    weight: u64,
    deficit: u64,
    /// It has had its share of this round.
    served: bool,
    /// Its next job found no engine in this pass, and another flow's may.
    passed: bool,
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    flows: BTreeMap<u32, Flow>,
    /// Flows in the order of their turns.
    turns: VecDeque<u32>,
    /// Of all its flows.
    weight: u64,
    deficit: u64,
    served: bool,
    /// Its next job found no engine in this pass.
    blocked: bool,
    /// Some of its flows were passed over in this pass.
    passing: bool,
}

#[derive(Debug, Default)]
struct Line {
    groups: Vec<Group>,
    /// Whose turn it is.
    at: usize,
    jobs: usize,
    bytes: u64,
}

/// What waits, by class.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: [Line; 3],
    jobs: usize,
}

impl Group {
    fn new(key: GroupKey) -> Self {
        Self {
            key,
            flows: BTreeMap::new(),
            turns: VecDeque::new(),
            weight: 0,
            deficit: 0,
            served: false,
            blocked: false,
            passing: false,
        }
    }

    /// The job whose turn it is among its flows. There is one, unless all were passed over.
    fn head(&mut self) -> Option<Waiting> {
        let mut passed = 0;
        loop {
            let &number = self.turns.front()?;
            let flow = self.flows.get_mut(&number)?;
            let head = *flow.jobs.front()?;
            if flow.passed {
                passed += 1;
                if passed >= self.turns.len() {
                    return None;
                }
                self.turns.rotate_left(1);
                continue;
            }
            passed = 0;
            if !flow.served {
                flow.deficit += QUANTUM * flow.weight;
                flow.served = true;
            }
            if head.cost <= flow.deficit {
                return Some(head);
            }
            flow.served = false;
            self.turns.rotate_left(1);
        }
    }

    fn push(&mut self, number: u32, weight: u16, job: Waiting) {
        let flow = self.flows.entry(number).or_default();
        if flow.jobs.is_empty() {
            flow.weight = u64::from(weight.max(1));
            self.weight += flow.weight;
            self.turns.push_back(number);
        }
        flow.bytes += job.bytes;
        flow.jobs.push_back(job);
    }

    /// Takes the head out.
    fn pop(&mut self) -> Option<Waiting> {
        let &number = self.turns.front()?;
        let flow = self.flows.get_mut(&number)?;
        let head = flow.jobs.pop_front()?;
        flow.deficit = flow.deficit.saturating_sub(head.cost);
        flow.bytes -= head.bytes;
        self.deficit = self.deficit.saturating_sub(head.cost);
        if flow.jobs.is_empty() {
            // Who has nothing to send saves nothing up.
            self.weight -= flow.weight;
            self.flows.remove(&number);
            self.turns.pop_front();
        }
        Some(head)
    }
}

impl Line {
    /// A flow may hold as much as the class has left (Choudhury and Hahne, 1998: dynamic
    /// thresholds): one alone half of it, many their share, and one that has nothing yet finds
    /// room as long as there is any.
    fn has_room(&self, key: &GroupKey, flow: u32, bytes: u64) -> bool {
        let left = CLASS_BYTES.saturating_sub(self.bytes);
        let held = self
            .groups
            .iter()
            .find(|group| group.key == *key)
            .and_then(|group| group.flows.get(&flow))
            .map_or(0, |flow| flow.bytes);
        let fits = self.jobs < CLASS_JOBS && bytes <= left;
        fits && (held == 0 || held + bytes <= left)
    }

    fn next(&mut self) -> Option<u64> {
        let mut blocked = 0;
        while blocked < self.groups.len() {
            self.at %= self.groups.len();
            let group = &mut self.groups[self.at];
            if group.blocked {
                blocked += 1;
                self.at += 1;
                continue;
            }
            blocked = 0;
            let Some(head) = group.head() else {
                group.blocked = true;
                continue;
            };
            if !group.served {
                group.deficit += QUANTUM * group.weight;
                group.served = true;
            }
            if head.cost <= group.deficit {
                return Some(head.ticket);
            }
            group.served = false;
            self.at += 1;
        }
        None
    }
}

impl Queue {
    pub(crate) const fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    /// Jobs and the bytes they hold, of one class.
    pub(crate) const fn level(&self, class: Class) -> (usize, u64) {
        let line = &self.lines[class.index()];
        (line.jobs, line.bytes)
    }

    /// Whether jobs wait that would be overtaken by a new one of this group.
    pub(crate) fn waits(&self, class: Class, key: &GroupKey) -> bool {
        let line = &self.lines[class.index()];
        line.groups.iter().any(|group| group.key == *key)
    }

    /// Puts a job behind those of its flow, where there is room for it.
    pub(crate) fn push(
        &mut self,
        class: Class,
        key: &GroupKey,
        (flow, weight): (u32, u16),
        job: Waiting,
    ) {
        let line = &mut self.lines[class.index()];
        let at = match line.groups.iter().position(|group| group.key == *key) {
            Some(at) => at,
            None => {
                line.groups.push(Group::new(*key));
                line.groups.len() - 1
            }
        };
        line.groups[at].push(flow, weight, job);
        line.jobs += 1;
        line.bytes += job.bytes;
        self.jobs += 1;
    }

    pub(crate) fn has_room(&self, class: Class, key: &GroupKey, flow: u32, bytes: u64) -> bool {
        self.lines[class.index()].has_room(key, flow, bytes)
    }

    /// A new pass: every group may find an engine again.
    pub(crate) fn begin(&mut self) {
        for line in &mut self.lines {
            for group in &mut line.groups {
                group.blocked = false;
                if core::mem::take(&mut group.passing) {
                    group
                        .flows
                        .values_mut()
                        .for_each(|flow| flow.passed = false);
                }
            }
        }
    }

    /// The job of a class whose turn it is; [`Queue::took`] or [`Queue::block`] follows.
    pub(crate) fn next(&mut self, class: Class) -> Option<u64> {
        self.lines[class.index()].next()
    }

    /// The job that `next` answered is gone.
    pub(crate) fn took(&mut self, class: Class) {
        let line = &mut self.lines[class.index()];
        let Some(group) = line.groups.get_mut(line.at) else {
            return;
        };
        if let Some(job) = group.pop() {
            line.jobs -= 1;
            line.bytes -= job.bytes;
            self.jobs -= 1;
        }
        if group.turns.is_empty() {
            line.groups.remove(line.at);
        }
    }

    /// The job that `next` answered finds no engine in this pass, nor does any of its flow; one of
    /// another flow may.
    pub(crate) fn pass(&mut self, class: Class) {
        let line = &mut self.lines[class.index()];
        if let Some(group) = line.groups.get_mut(line.at)
            && let Some(number) = group.turns.front()
            && let Some(flow) = group.flows.get_mut(number)
        {
            flow.passed = true;
            group.passing = true;
        }
    }

    /// The first jobs of all flows: those behind them would leave behind them, whoever did them.
    pub(crate) fn heads(&self) -> impl Iterator<Item = u64> {
        let groups = self.lines.iter().flat_map(|line| &line.groups);
        let flows = groups.flat_map(|group| group.flows.values());
        flows.filter_map(|flow| flow.jobs.front().map(|job| job.ticket))
    }

    /// The job that `next` answered finds no engine in this pass, nor does any of its group.
    pub(crate) fn block(&mut self, class: Class) {
        let line = &mut self.lines[class.index()];
        if let Some(group) = line.groups.get_mut(line.at) {
            group.blocked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(member: u32) -> GroupKey {
        GroupKey {
            team: 1,
            member: Some(member),
            algorithm: Algorithm::Aes128Gcm16,
            direction: Direction::Seal,
        }
    }

    fn job(ticket: u64, cost: u64) -> Waiting {
        Waiting {
            ticket,
            cost,
            bytes: LEAST_BYTES,
        }
    }

    const CLASS: Class = Class::Secondary;

    fn serve(queue: &mut Queue) -> Option<u64> {
        let ticket = queue.next(CLASS)?;
        queue.took(CLASS);
        Some(ticket)
    }

    #[test]
    fn flows_share_by_weight_and_keep_their_order() {
        let mut queue = Queue::default();
        // Flow 1 floods, in large jobs; 2 and 3 have as much, in small ones, and 3 counts double.
        for ticket in 0..300 {
            queue.push(CLASS, &key(1), (1, 1), job(1_000_000 + ticket, 60_000));
        }
        for ticket in 0..600 {
            queue.push(CLASS, &key(1), (2, 1), job(2_000_000 + ticket, 6_000));
            queue.push(CLASS, &key(1), (3, 2), job(3_000_000 + ticket, 6_000));
        }
        let (mut served, mut last) = ([0_u64; 4], [0; 4]);
        for _ in 0..400 {
            let ticket = serve(&mut queue).unwrap();
            let flow = (ticket / 1_000_000) as usize;
            assert!(ticket > last[flow] || last[flow] == 0, "out of order");
            last[flow] = ticket;
            served[flow] += if flow == 1 { 60_000 } else { 6_000 };
        }
        let share = |flow: usize| served[flow] as f64 / served[2] as f64;
        assert!((0.9..1.1).contains(&share(1)), "{served:?}");
        assert!((1.9..2.1).contains(&share(3)), "{served:?}");
    }

    #[test]
    fn groups_share_by_the_flows_in_them_and_a_blocked_one_stops_no_other() {
        let mut queue = Queue::default();
        for ticket in 0..500 {
            queue.push(CLASS, &key(1), (1, 1), job(ticket, 10_000));
            for flow in 2..5 {
                queue.push(CLASS, &key(2), (flow, 1), job(10_000 + ticket, 10_000));
            }
        }
        let first = (0..400)
            .filter(|_| serve(&mut queue).unwrap() < 10_000)
            .count();
        assert!((95..=105).contains(&first), "{first} of 400");
        queue.begin();
        let mut served = 0;
        while let Some(ticket) = queue.next(CLASS) {
            if ticket < 10_000 {
                queue.block(CLASS);
            } else {
                queue.took(CLASS);
                served += 1;
            }
        }
        assert_eq!(served, 1500 - (400 - first));
        queue.begin();
        assert!(queue.next(CLASS).is_some());
        assert!(queue.waits(CLASS, &key(1)) && !queue.waits(CLASS, &key(2)));
    }

    #[test]
    fn a_flow_that_is_passed_over_stops_no_other_and_has_its_turn_in_the_next_pass() {
        let mut queue = Queue::default();
        for flow in 1..4 {
            for ticket in 0..10 {
                queue.push(
                    CLASS,
                    &key(1),
                    (flow, 1),
                    job(u64::from(flow) * 100 + ticket, 50),
                );
            }
        }
        let mut heads: Vec<u64> = queue.heads().collect();
        assert_eq!(heads, [100, 200, 300]);
        queue.begin();
        assert_eq!(queue.next(CLASS), Some(100));
        queue.pass(CLASS);
        let served: Vec<u64> = core::iter::from_fn(|| serve(&mut queue)).collect();
        assert_eq!(served.len(), 20);
        assert!(served.iter().all(|&ticket| ticket >= 200));
        heads = queue.heads().collect();
        assert_eq!(heads, [100]);
        queue.begin();
        assert_eq!(serve(&mut queue), Some(100));
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let mut queue = Queue::default();
        let mut held = [0_u64; 3];
        for (turn, held) in held.iter_mut().enumerate() {
            let flow = turn as u32;
            while queue.has_room(CLASS, &key(1), flow, LEAST_BYTES) {
                queue.push(CLASS, &key(1), (flow, 1), job(1, 100));
                *held += LEAST_BYTES;
            }
        }
        assert_eq!(held[0], CLASS_BYTES / 2);
        assert_eq!(held[1], CLASS_BYTES / 4);
        assert!(held[2] >= CLASS_BYTES / 8);
        assert!(queue.has_room(CLASS, &key(9), 77, LEAST_BYTES));
        assert_eq!(queue.level(CLASS).1, held.iter().sum::<u64>());
        assert!(!queue.has_room(CLASS, &key(9), 77, CLASS_BYTES));
    }

    #[test]
    fn what_is_empty_is_forgotten() {
        let mut queue = Queue::default();
        queue.push(CLASS, &key(1), (1, 0), job(7, 1));
        assert_eq!(serve(&mut queue), Some(7));
        assert!(queue.is_empty() && queue.lines[CLASS.index()].groups.is_empty());
        assert_eq!((queue.next(CLASS), queue.level(CLASS)), (None, (0, 0)));
        queue.took(CLASS);
        queue.block(CLASS);
    }
}

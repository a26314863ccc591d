//! The real thread: a short loop around the step function. Everything that reads a clock,
//! sleeps or calls the system stands here and in the ports.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use esprit_crypto::{Wake, come_first};
use esprit_packet::Time;
use esprit_port::wait::precise_timers;
use esprit_port::{LinkEvent, LinkMonitor, LinkProber, Port, Waiter};
use rustix::time::{ClockId, clock_gettime};

use crate::command::{Answer, Command, Taken};
use crate::events::{Event, Events};
use crate::gate::Gate;
use crate::moderation::Moderation;
use crate::wake::EventFd;
use crate::worker::{Io, Worker};

/// CLOCK_MONOTONIC as the data path's time.
#[must_use]
pub fn monotonic() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Time(part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec))
}

/// Ports that are read without a poll: an empty read takes 0.25 us, a poll over their descriptors
/// and two more 1.2 us (perf on a Zen 3, one stream through a team).
const FEW: usize = 4;

/// The ports of a process, by the ids of their teams and members.
#[derive(Default)]
struct Ports {
    taps: BTreeMap<u32, Gate>,
    members: BTreeMap<u32, Gate>,
    links: Option<Links>,
    /// Whether the link socket is to be looked at in the next step.
    look: bool,
}

/// Link changes: the socket they come by, and what makes the kernel tell them in time.
struct Links {
    monitor: LinkMonitor,
    prober: LinkProber,
    watched: BTreeMap<u32, u32>,
}

impl Ports {
    /// Whether a fallen link of `member` is to be found at once.
    fn watch(&mut self, member: u32, ifindex: u32) {
        if let Some(links) = &mut self.links {
            let heard = links.prober.watch(ifindex);
            links.watched.insert(member, ifindex);
            if let Some(port) = self.members.get_mut(&member) {
                port.tell(heard);
            }
        }
    }

    /// Lets all ports be read without asking first, where they are few: then a look at each costs
    /// less than one poll over all, and after a pause under load it is seldom in vain.
    fn open_few(&mut self) -> bool {
        let few = self.taps.len() + self.members.len() <= FEW;
        if few {
            let ports = self.taps.values_mut().chain(self.members.values_mut());
            ports.for_each(Gate::open);
        }
        few
    }

    fn forget(&mut self, member: u32) {
        self.members.remove(&member);
        if let Some(links) = &mut self.links
            && let Some(ifindex) = links.watched.remove(&member)
        {
            links.prober.unwatch(ifindex);
        }
    }
}

impl Io for Ports {
    fn tap(&mut self, team: u32) -> Option<&mut dyn Port> {
        self.taps.get_mut(&team).map(|port| port as &mut dyn Port)
    }

    fn member(&mut self, member: u32) -> Option<&mut dyn Port> {
        self.members
            .get_mut(&member)
            .map(|port| port as &mut dyn Port)
    }

    fn close_member(&mut self, member: u32) {
        self.forget(member);
    }

    fn links(&mut self, out: &mut Vec<LinkEvent>) {
        if core::mem::take(&mut self.look)
            && let Some(links) = &mut self.links
        {
            links.monitor.poll(out);
        }
    }
}

struct Request {
    command: Command,
    /// None: nobody waits for the answer.
    reply: Option<Sender<Answer>>,
}

/// A handle to a running worker. Dropping it stops the thread.
pub struct WorkerThread {
    requests: Option<Sender<Request>>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    /// Where the thread lives: in a child of this process there is none.
    process: u32,
}

/// The worker's thread has ended: its doors are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data plane has stopped")]
pub struct Stopped;

impl WorkerThread {
    /// Starts the thread that drives `worker`; `wake` is what its engines were told to wake.
    ///
    /// # Errors
    /// What the system says where it can start no thread.
    pub fn start(worker: Worker, events: Events, wake: Arc<EventFd>) -> io::Result<Self> {
        let (requests, inbox) = unbounded();
        let for_thread = Arc::clone(&wake);
        let thread = std::thread::Builder::new()
            .name("esprit-worker".to_owned())
            .spawn(move || {
                come_first();
                let end = catch_unwind(AssertUnwindSafe(|| {
                    run(worker, &inbox, &for_thread);
                }));
                if let Err(panic) = end {
                    // The ports died with `run`: nothing leaves any more, in plain or sealed.
                    let message = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
                        .unwrap_or_else(|| "no message".to_owned());
                    events.push(monotonic(), Event::Panic { message });
                }
            })?;
        Ok(Self {
            requests: Some(requests),
            wake,
            thread: Some(thread),
            process: std::process::id(),
        })
    }

    /// Gives the worker a command and waits for its answer: one turn of its loop.
    ///
    /// # Errors
    /// [`Stopped`] where the thread has ended.
    pub fn call(&self, command: Command) -> Result<Answer, Stopped> {
        let (reply, answer) = bounded(1);
        self.send(command, Some(reply))?;
        answer.recv().map_err(|_| Stopped)
    }

    /// Gives the worker a command that brings its own way back, and does not wait.
    ///
    /// # Errors
    /// [`Stopped`] where the thread has ended.
    pub fn post(&self, command: Command) -> Result<(), Stopped> {
        self.send(command, None)
    }

    fn send(&self, command: Command, reply: Option<Sender<Answer>>) -> Result<(), Stopped> {
        self.requests
            .as_ref()
            .filter(|_| self.process == std::process::id())
            .ok_or(Stopped)?
            .send(Request { command, reply })
            .map_err(|_| Stopped)?;
        self.wake.wake();
        Ok(())
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // After a fork there is nobody to wait for, and locks may stay taken for good.
            core::mem::forget((self.requests.take(), self.thread.take()));
            return;
        }
        self.requests = None;
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported as an event already.
            let _ = thread.join();
        }
    }
}

fn run(mut worker: Worker, inbox: &Receiver<Request>, wake: &EventFd) {
    let mut ports = Ports::default();
    let mut waiter = Waiter::new();
    let mut moderation = Moderation::new(monotonic());
    precise_timers();
    loop {
        loop {
            match inbox.try_recv() {
                Ok(request) => {
                    let answer = obey(&mut worker, &mut ports, request.command);
                    if let Some(reply) = request.reply {
                        // Whoever asked may have given up waiting; the command stands all the
                        // same.
                        let _ = reply.send(answer);
                    }
                }
                Err(crossbeam_channel::TryRecvError::Empty) => break,
                Err(crossbeam_channel::TryRecvError::Disconnected) => return,
            }
        }
        let progress = worker.step(monotonic(), &mut ports);
        if progress.busy {
            wait(&mut waiter, &mut ports, wake, Some(Time::ZERO), &worker);
            continue;
        }
        let now = monotonic();
        // A device that was full has room before the pause is over.
        let full = ports.members.keys().any(|&id| worker.member_waits(id));
        if let Some(pause) = moderation.rest(now).filter(|_| !full) {
            let until = progress
                .next
                .map_or(now + pause, |next| next.min(now + pause));
            rest(&mut waiter, &mut ports, wake, until);
            if ports.open_few() {
                moderation.wake(monotonic());
                continue;
            }
        }
        wait(&mut waiter, &mut ports, wake, progress.next, &worker);
        moderation.wake(monotonic());
    }
}

/// Commands that bring or take a port change the thread's own tables; all go to the worker.
fn obey(worker: &mut Worker, ports: &mut Ports, command: Command) -> Answer {
    let now = monotonic();
    match command {
        Command::TeamAdd(spec, port) => {
            let id = spec.id;
            let answer = worker.team_add(&spec);
            if matches!(answer, Answer::Done) {
                ports.taps.insert(id, Gate::new(port));
            }
            answer
        }
        Command::TeamRemove(team) => {
            for member in worker.team_remove(team) {
                ports.forget(member);
            }
            ports.taps.remove(&team);
            Answer::Done
        }
        Command::MemberAdd(spec, port) => {
            let (id, ifindex) = (spec.id, spec.ifindex);
            let answer = worker.member_add(&spec);
            if matches!(answer, Answer::Done) {
                ports.members.insert(id, Gate::new(port));
                ports.watch(id, ifindex);
            }
            answer
        }
        Command::MemberRemove(member) => {
            worker.member_remove(now, member, ports);
            ports.forget(member);
            Answer::Done
        }
        Command::Links(monitor, prober) => {
            ports.links = Some(Links {
                monitor,
                prober,
                watched: BTreeMap::new(),
            });
            Answer::Done
        }
        Command::EngineAdmit(engine, verified) => worker.engine_admit(engine, verified),
        Command::EngineRemove(engine) => worker.engine_remove(now, engine),
        Command::EngineTake(engine) => Answer::Engine(worker.engine_take(now, engine).map(Taken)),
        Command::EngineFault(engine, fault) => worker.engine_fault(engine, fault),
        Command::Applications(grants) => worker.applications(*grants),
        Command::ProbeKey(team, key) => worker.probe_key(team, key),
        Command::Explain(team, flow) => match worker.explain(now, team, &flow) {
            Ok(explanation) => Answer::Explanation(Box::new(explanation)),
            Err(text) => Answer::Refused(text),
        },
        Command::LastDrop(team) => Answer::LastDrop(worker.last_drop(team)),
        Command::Publish(plan) => worker.publish(*plan),
        Command::SaAdd(spec, key, salt) => worker.sa_add(*spec, key, salt),
        Command::SaDelete(sa) => worker.sa_delete(sa),
        Command::SaGrant(sa, upto) => worker.sa_grant(sa, upto),
        Command::SaNextHop(sa, mac) => worker.sa_next_hop(sa, mac),
        Command::Policies(team, policies) => worker.policies(team, policies),
        Command::Application(tasks) => worker.application(tasks),
        Command::Snapshot => Answer::Snapshot(Box::new(worker.snapshot(now))),
        Command::Loads => Answer::Loads(Box::new(worker.loads(now))),
        Command::Sa(sa) => Answer::Sa(worker.sa(sa).map(Box::new)),
        Command::Tops(team, step) => Answer::Tops(worker.tops(team, step)),
    }
}

/// Waits for a link, an engine, a command or the time `until`, and lets frames gather.
fn rest(waiter: &mut Waiter, ports: &mut Ports, wake: &EventFd, until: Time) {
    waiter.clear();
    waiter.add(wake.as_raw_fd(), false);
    if let Some(links) = &ports.links {
        waiter.add(links.monitor.fd(), false);
    }
    waiter.wait(Some(until.since(monotonic())));
    heed(waiter, ports, wake);
}

/// What a sleep was told besides frames.
fn heed(waiter: &Waiter, ports: &mut Ports, wake: &EventFd) {
    if waiter.is_ready(wake.as_raw_fd()) {
        wake.clear();
    }
    let told = |links: &Links| waiter.is_ready(links.monitor.fd());
    ports.look = ports.links.as_ref().is_some_and(told);
}

/// Waits for a frame, a link, an engine, a command or the time `until`; one that has passed
/// only looks.
fn wait(
    waiter: &mut Waiter,
    ports: &mut Ports,
    wake: &EventFd,
    until: Option<Time>,
    worker: &Worker,
) {
    waiter.clear();
    waiter.add(wake.as_raw_fd(), false);
    for fd in ports.taps.values().filter_map(Port::fd) {
        waiter.add(fd, false);
    }
    for (&id, port) in &ports.members {
        if let Some(fd) = port.fd() {
            waiter.add(fd, worker.member_waits(id));
        }
    }
    if let Some(links) = &ports.links {
        waiter.add(links.monitor.fd(), false);
    }
    let span = until.map(|until| match until {
        Time::ZERO => Time::ZERO,
        until => until.since(monotonic()),
    });
    waiter.wait(span);
    for port in ports.taps.values_mut().chain(ports.members.values_mut()) {
        port.look(waiter);
    }
    heed(waiter, ports, wake);
}

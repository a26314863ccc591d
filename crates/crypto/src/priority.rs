//! Packets before decisions: threads that packets wait for come before the rest of the process.

/// The niceness of a thread that packets wait for. A level is a factor of 1.25 in the share of a
/// processor (linux/kernel/sched/core.c, sched_prio_to_weight), so this one has nine times that of
/// a thread that computes: a decision that takes long is delayed and not stopped, and nothing
/// outside the normal class is overtaken.
const NICENESS: i32 = -10;

/// Puts the calling thread before those that were left at the default. Where that is not
/// permitted (CAP_SYS_NICE), it stays as it is.
pub fn come_first() {
    // Of Linux no process means the calling thread.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

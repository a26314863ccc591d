//! The memory of jobs that have ended, for those that come next: their lists grow to a batch's size
//! once, not with every job.

use std::sync::Arc;

use esprit_crypto::JobInput;

use crate::inbound::Packet;

/// Jobs whose memory is kept, at most: one in the making each way, and as many again. What more
/// ends at once was in engines' queues, and is freed.
const KEPT: usize = 4;

/// Lists without contents.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    inputs: Vec<JobInput>,
    packets: Vec<Vec<Packet>>,
}

impl Spares {
    /// An empty input, with room where there is one to reuse.
    pub(crate) fn input(&mut self) -> JobInput {
        self.inputs.pop().unwrap_or_default()
    }

    /// An empty list of packets to be opened.
    pub(crate) fn packets(&mut self) -> Vec<Packet> {
        self.packets.pop().unwrap_or_default()
    }

    /// Takes back what a sealed job was made from; nothing where somebody holds it still.
    pub(crate) fn give_input(&mut self, input: Arc<JobInput>) {
        if self.inputs.len() < KEPT
            && let Some(mut input) = Arc::into_inner(input)
        {
            input.frames.clear();
            input.headers.clear();
            input.ops.clear();
            self.inputs.push(input);
        }
    }

    /// As much of an opened job.
    pub(crate) fn give(&mut self, input: Arc<JobInput>, mut packets: Vec<Packet>) {
        self.give_input(input);
        if self.packets.len() < KEPT {
            packets.clear();
            self.packets.push(packets);
        }
    }
}

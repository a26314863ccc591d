//! Why a packet went no further: every drop has a reason, and the reason is a counter.

macro_rules! reasons {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped. The doc of a variant is the help text of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[doc = $help])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The counter's name, as users read it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One line for people: what it means.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($help),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// The frame's headers contradict its length or each other.
    Malformed = "malformed",
    /// The IPv4 header checksum is wrong.
    HeaderChecksum = "header-checksum",
    /// The source address is one of our own: our frame came back.
    Looped = "looped",
    /// A copy of what the receiver member hears too (broadcast, multicast, the team's MAC).
    Duplicate = "duplicate",
    /// A frame that claims to be a probe between members and is not: forged, replayed, or lost.
    ProbeRefused = "probe-refused",
    /// The destination address is nobody's here: flooded by a switch.
    NotForUs = "not-for-us",
    /// No Plan has been published for the team yet: the doors are closed.
    NoPlan = "no-plan",
    /// No member of the team can carry traffic.
    NoMember = "no-member",
    /// A policy says discard.
    PolicyDiscard = "policy-discard",
    /// No policy matches, and the address is one that a policy protects otherwise.
    DefaultDiscard = "default-discard",
    /// A fragment, or a packet whose ports are unknown, could match a policy with ports.
    FragmentDiscard = "fragment-discard",
    /// PPPoE or MPLS while a policy protects: what is inside cannot be judged.
    Encapsulated = "encapsulated",
    /// A plain packet that policy says must arrive protected.
    PlaintextRefused = "plaintext-refused",
    /// Policy protects, but no security association carries it.
    NoSa = "no-sa",
    /// The packet's addresses do not fit the transport-mode security association.
    SaMismatch = "sa-mismatch",
    /// The security association has no sequence numbers left.
    SaExhausted = "sa-exhausted",
    /// The high-water mark on disk does not reach this sequence number yet.
    SaNotGranted = "sa-not-granted",
    /// The Ethernet address of the next hop is not known.
    NoNextHop = "no-next-hop",
    /// No verified engine may do this work.
    NoEngine = "no-engine",
    /// Every engine that may do this work is full.
    EngineFull = "engine-full",
    /// No buffer was free.
    NoMemory = "no-memory",
    /// Engines failed on this packet more often than it is tried.
    EngineLost = "engine-lost",
    /// A super-frame that cannot be cut into segments.
    Segmentation = "segmentation",
    /// An ESP packet too short or with a reserved SPI.
    EspMalformed = "esp-malformed",
    /// The integrity check value does not fit: forged or damaged.
    Icv = "icv",
    /// The sequence number was seen before.
    ReplayDuplicate = "replay-duplicate",
    /// The sequence number lies left of the replay window.
    ReplayTooOld = "replay-too-old",
    /// The ESP trailer is not as RFC 4303 has it.
    Trailer = "trailer",
    /// A dummy packet (next header 59), dropped as RFC 4303 2.6 says.
    Dummy = "dummy",
    /// What was inside is not a well-formed IP packet of the announced kind.
    InnerMalformed = "inner-malformed",
    /// The network marked congestion on a packet that cannot say so (RFC 6040 section 4.2).
    Congestion = "congestion",
    /// An opened packet that the policy of its security association does not cover.
    InboundPolicy = "inbound-policy",
    /// The NAT keep-alive of RFC 3948.
    Keepalive = "keepalive",
    /// The queue towards a member was full.
    TxQueueFull = "tx-queue-full",
    /// The member's port died with the frame in its queue, and no other member could take it.
    PortDown = "port-down",
    /// The device refused the frame for good (size or form).
    PortRefused = "port-refused",
}

/// Counters for [`DropReason::ALL`].
#[derive(Clone, Debug)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts `packets` dropped for `reason`.
    pub fn count(&mut self, reason: DropReason, packets: u64) {
        self.0[reason as usize] += packets;
    }

    /// Takes over what was counted elsewhere.
    pub(crate) fn inherit(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason.name(), self.get(reason)))
            .filter(|&(_, count)| count > 0)
    }

    /// All drops together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_helps_are_sentences() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for reason in DropReason::ALL {
            assert!(reason.help().ends_with('.'), "{}", reason.name());
        }
    }

    #[test]
    fn counters_stand_at_their_reason() {
        let mut drops = Drops::default();
        drops.count(DropReason::Icv, 2);
        drops.count(DropReason::Icv, 1);
        assert_eq!(drops.seen().collect::<Vec<_>>(), [("icv", 3)]);
        assert_eq!(drops.total(), 3);
    }
}

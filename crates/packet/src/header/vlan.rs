//! VLAN tags (IEEE 802.1Q clause 9).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// What stands behind a tag's TPID: tag control information, and the EtherType that the tag
/// has pushed back.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tag {
    /// Priority (3 bits), drop eligibility (1), VLAN identifier (12).
    pub tci: U16,
    /// EtherType of what follows.
    pub ethertype: U16,
}

impl Tag {
    /// Bytes on the wire that a tag adds.
    pub const LEN: usize = size_must_be::<Self>(4);
}

/// Tags that a frame may bear: a customer's and a provider's (802.1ad).
pub const MAX_TAGS: usize = 2;

/// The tags of a frame, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    tags: [(u16, u16); MAX_TAGS],
    len: u8,
}

impl Vlan {
    /// Adds an inner tag, or says that there are [`MAX_TAGS`] already.
    pub(crate) fn push(&mut self, tpid: u16, tci: u16) -> bool {
        match self.tags.get_mut(usize::from(self.len)) {
            Some(tag) => {
                *tag = (tpid, tci);
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The tags as `(TPID, TCI)`, in host order, outermost first.
    #[must_use]
    pub fn tags(&self) -> &[(u16, u16)] {
        &self.tags[..usize::from(self.len)]
    }

    /// The identifier of the outermost tag's VLAN. Zero is a tag of priority only.
    #[must_use]
    pub fn id(&self) -> Option<u16> {
        self.tags().first().map(|(_, tci)| tci & 0x0fff)
    }
}

//! The ECN field through a tunnel (RFC 6040, normal mode on the way in, section 4.2 on the way
//! out). Congestion on the outer path reaches the inner packet's receiver.

use thiserror::Error;

/// The ECN bits of a traffic class or TOS byte.
pub const MASK: u8 = 0b11;
/// The transport does not know ECN.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, codepoint 1.
pub const ECT1: u8 = 0b01;
/// ECN-capable, codepoint 0.
pub const ECT0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The outer packet met congestion and the inner one cannot carry the news (RFC 6040 section
/// 4.2): it is dropped, which is what a congested router would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the outer packet met congestion, which the inner one cannot say")]
pub struct EcnDrop;

impl EcnDrop {
    /// The name under which this drop is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        "ecn-not-capable"
    }
}

/// The traffic class of an inner packet after decapsulation. DSCP stays the inner one
/// (RFC 4301 section 5.1.2.1); the ECN field is the table of RFC 6040 figure 4.
///
/// # Errors
/// [`EcnDrop`]: not ECN-capable inside, congestion outside.
pub const fn decapsulate(inner: u8, outer: u8) -> Result<u8, EcnDrop> {
    let dscp = inner & !MASK;
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => Err(EcnDrop),
        (NOT_ECT, _) => Ok(dscp | NOT_ECT),
        (CE, _) | (_, CE) => Ok(dscp | CE),
        (_, ECT1) => Ok(dscp | ECT1),
        (own, _) => Ok(dscp | own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decapsulation_is_the_table_of_the_rfc() {
        // Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE (RFC 6040 figure 4).
        let outer = [NOT_ECT, ECT0, ECT1, CE];
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT0, [Some(ECT0), Some(ECT0), Some(ECT1), Some(CE)]),
            (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in outer.into_iter().zip(row) {
                // The outer DSCP never gets in.
                let got = decapsulate(0b1011_1000 | inner, 0b0101_0100 | outer).ok();
                assert_eq!(got, expected.map(|ecn| 0b1011_1000 | ecn));
            }
        }
    }
}

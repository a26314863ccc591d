//! What a Plan lets engines do, and for whom.

use serde::{Deserialize, Serialize};

/// An engine's number, unique in the process; Python gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineId(pub u32);

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Of the member that the engine belongs to.
    Primary,
    /// Of anyone else in a team.
    Secondary,
    /// An application's.
    Application,
}

impl Class {
    /// Every class, in the order of [`Grants::spill_ns`].
    pub const ALL: [Self; 3] = [Self::Primary, Self::Secondary, Self::Application];

    /// Its place in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Primary => 0,
            Self::Secondary => 1,
            Self::Application => 2,
        }
    }
}

/// The `team` of requests that no team makes: applications' tasks.
pub const APPLICATIONS: u32 = u32::MAX;

/// What one engine may do for one team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The engine.
    pub engine: u32,
    /// The member whose engine it is; none: nobody's (the host's processor).
    pub member: Option<u32>,
    /// May seal.
    pub seal: bool,
    /// May open.
    pub open: bool,
    /// Its tier for its own member's traffic; none: not at all. Lower tiers come first.
    pub primary: Option<u8>,
    /// Its tier for others' traffic.
    pub secondary: Option<u8>,
    /// Its tier for applications.
    pub application: Option<u8>,
    /// Added to its cost, in nanoseconds.
    pub bias_ns: u64,
    /// Added to its cost for every nanosecond of its own primary backlog.
    pub bias_load: f64,
    /// Takes secondary and application work only while its backlog is below this.
    pub limit_ns: Option<u64>,
    /// Takes secondary and application work only as far as it makes its own member's traffic
    /// wait no longer than by this share of the time that this takes through it; none: only
    /// `limit_ns` bounds it.
    #[serde(default)]
    pub headroom: Option<f64>,
    /// Takes application work only while its backlog is below this, as long as it works for teams
    /// too: their jobs wait for at most so much of it, and the one that is being done.
    #[serde(default)]
    pub beside_ns: Option<u64>,
}

impl Grant {
    /// The grant of an engine that may do nothing.
    #[must_use]
    pub const fn none(engine: u32) -> Self {
        Self {
            engine,
            member: None,
            seal: false,
            open: false,
            primary: None,
            secondary: None,
            application: None,
            bias_ns: 0,
            bias_load: 0.0,
            limit_ns: None,
            headroom: None,
            beside_ns: None,
        }
    }
}

/// What all engines may do for one team.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// One entry for each engine; what is not here may do nothing.
    pub engines: Vec<Grant>,
    /// By class: nanoseconds until an expected completion, beyond which the next tier is asked.
    pub spill_ns: [u64; 3],
    /// Of so many sealed jobs one is opened again by another engine before it leaves: 1 is
    /// all of them, 0 none.
    #[serde(default)]
    pub verify_every: u32,
}

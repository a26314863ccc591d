//! `esprit explain`: what would become of a packet, and why. Nothing is counted, numbered or sent;
//! the functions that decide are the journey's own.

use std::net::IpAddr;

use esprit_crypto::{Ask, Candidate, Class, Direction, Verdict};
use esprit_ipsec::esp;
use esprit_ipsec::spd::{Action, Rule};
use esprit_packet::checksum::Sum;
use esprit_packet::header::protocol::{ICMP, ICMPV6, TCP, UDP};
use esprit_packet::parse::{Parsed, parse_frame};
use esprit_packet::{Time, VnetHdr};
use serde::{Deserialize, Serialize};

use crate::decide::{Fate, decide, wrap};
use crate::l2;
use crate::plan::Mac;
use crate::sa::OutSa;
use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// A packet that the host might send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// From.
    pub src: IpAddr,
    /// To; of the same family.
    pub dst: IpAddr,
    /// The transport protocol's number.
    pub protocol: u8,
    /// Source port; none: zero, where the protocol has ports.
    #[serde(default)]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default)]
    pub dport: Option<u16>,
    /// Bytes of the IP packet; made longer where its headers do not fit.
    pub length: u32,
}

/// How sealed packets would reach the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the member that asked.
    Return,
    /// By the engine's own.
    Direct,
}

/// What would become of it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The policy that decides.
    pub policy: Option<u32>,
    /// What is done.
    pub action: Action,
    /// Which rule decided: `policy`, a built-in rule's name, or which default.
    pub rule: &'static str,
    /// The SA that seals it.
    pub sa: Option<u32>,
    /// The member that it leaves by, or is sealed for.
    pub member: Option<u32>,
    /// The engine that would seal it now.
    pub engine: Option<u32>,
    /// The use that this is to the engine.
    pub class: Option<Class>,
    /// How it would reach the wire.
    pub delivery: Option<Way>,
    /// The member that would send it.
    pub deliverer: Option<u32>,
    /// Why it would be dropped; empty where it would leave.
    pub reason: &'static str,
    /// All that in a sentence, with numbers for names.
    pub why: String,
    /// What every engine would cost.
    pub candidates: Vec<Candidate>,
}

/// Bytes of a packet at most, for both families.
const MAX_LENGTH: u32 = 65_535;

/// The Ethernet frame of a flow, as the host would send it to a neighbour of no known address.
fn frame_of(flow: &Flow, team: Mac) -> Result<Vec<u8>, String> {
    let transport: Vec<u8> = match flow.protocol {
        TCP => {
            let mut header = vec![0; 20];
            header[12] = 5 << 4;
            header
        }
        UDP => vec![0; 8],
        ICMP => vec![8, 0, 0, 0, 0, 0, 0, 0],
        ICMPV6 => vec![128, 0, 0, 0, 0, 0, 0, 0],
        // The other transports with ports have them at the same place.
        _ => vec![0; 12],
    };
    let mut payload = transport;
    if flow.protocol != ICMP && flow.protocol != ICMPV6 {
        payload[..2].copy_from_slice(&flow.sport.unwrap_or(0).to_be_bytes());
        payload[2..4].copy_from_slice(&flow.dport.unwrap_or(0).to_be_bytes());
    }
    // A local broadcast address is not asked for; any unicast address will do.
    let mut frame = vec![0x02, 0, 0, 0, 0, 0xff];
    frame.extend_from_slice(&team.0);
    let wanted = flow.length.min(MAX_LENGTH) as usize;
    let pad = |payload: &mut Vec<u8>, header: usize| {
        let len = payload.len().max(wanted.saturating_sub(header));
        // Not zeros: four of them behind UDP port 4500 would be the mark of IKE.
        payload.resize(len, 0xff);
        len
    };
    match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = pad(&mut payload, 20);
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
            header[8] = 64;
            header[9] = flow.protocol;
            header[12..16].copy_from_slice(&src.octets());
            header[16..20].copy_from_slice(&dst.octets());
            let sum = Sum::default().add(&header).finish();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend_from_slice(&l2::IPV4.to_be_bytes());
            frame.extend_from_slice(&header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = pad(&mut payload, 40);
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
            header[6] = flow.protocol;
            header[7] = 64;
            header[8..24].copy_from_slice(&src.octets());
            header[24..40].copy_from_slice(&dst.octets());
            frame.extend_from_slice(&l2::IPV6.to_be_bytes());
            frame.extend_from_slice(&header);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return Err("the addresses are of two families".to_owned());
        }
    }
    if matches!(flow.dst, IpAddr::V4(dst) if dst.is_multicast() || dst.is_broadcast())
        || matches!(flow.dst, IpAddr::V6(dst) if dst.is_multicast())
    {
        frame[0] |= 1;
    }
    if flow.protocol == UDP {
        let len = (payload.len() as u16).to_be_bytes();
        payload[4..6].copy_from_slice(&len);
    }
    frame.extend_from_slice(&payload);
    Ok(frame)
}

fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::Policy => "policy",
        Rule::Builtin(builtin) => builtin.name(),
        Rule::Default => "default",
        Rule::Protected => "protected",
        Rule::Fragment => "fragment",
        Rule::Encapsulated => "encapsulated",
    }
}

impl Worker {
    /// What would become of a packet of this flow now.
    ///
    /// # Errors
    /// A sentence, where there is no such team, or the flow can be no packet.
    pub fn explain(&self, now: Time, team: u32, flow: &Flow) -> Result<Explanation, String> {
        let team = self
            .teams
            .get(&team)
            .ok_or_else(|| format!("team {team} does not exist"))?;
        let frame = frame_of(flow, team.mac)?;
        let parsed = parse_frame(&frame, &VnetHdr::default())
            .map_err(|error| format!("the flow can be no packet: {error}"))?;
        let decision = decide(team, &parsed, &frame);
        let mut told = Explanation {
            policy: decision.verdict.policy.map(|id| id.0),
            action: decision.verdict.action,
            rule: rule_name(decision.verdict.rule),
            sa: None,
            member: None,
            engine: None,
            class: None,
            delivery: None,
            deliverer: None,
            reason: "",
            why: String::new(),
            candidates: Vec::new(),
        };
        let fate = if team.plan.is_none() {
            Err(DropReason::NoPlan)
        } else {
            decision.fate
        };
        let outcome = match fate {
            Err(reason) => {
                if let (DropReason::NoEngine, Some(policy)) = (reason, told.policy) {
                    told.candidates = self.unserved(now, team.id, policy, &parsed);
                }
                Err(reason)
            }
            Ok(Fate::ByReceiver(member) | Fate::Pass(member)) => {
                told.member = Some(member);
                told.deliverer = Some(member);
                Ok(())
            }
            Ok(Fate::Protect { member, sa }) => {
                told.member = Some(member);
                told.sa = Some(sa);
                self.explain_sealing(now, team, &parsed, &frame, &mut told)
            }
        };
        if let Err(reason) = outcome {
            told.reason = reason.name();
        }
        told.why = sentence(&told, outcome.err());
        Ok(told)
    }

    /// What every engine would cost, for a packet of a policy whose members none serves.
    pub(crate) fn unserved(
        &self,
        now: Time,
        team: u32,
        policy: u32,
        parsed: &Parsed,
    ) -> Vec<Candidate> {
        let policy = self
            .teams
            .get(&team)
            .and_then(|team| team.policies.get(&policy));
        let Some(&(member, sa)) = policy.and_then(|policy| policy.sas.first()) else {
            return Vec::new();
        };
        let Some(sa) = self.sas.outbound.get(&sa) else {
            return Vec::new();
        };
        let ask = self.sealing(now, sa, member, parsed);
        self.pool.explain(now, team, &ask)
    }

    /// What placement would be asked for a packet of its own.
    fn sealing(&self, now: Time, sa: &OutSa, member: Option<u32>, parsed: &Parsed) -> Ask {
        let plain = u64::from(parsed.end - u32::from(parsed.l3));
        let algorithm = sa.key.algorithm();
        let ask = Ask::new(now, algorithm, Direction::Seal, member, 1, plain);
        self.pool.with_key(&ask, &sa.key)
    }

    fn explain_sealing(
        &self,
        now: Time,
        team: &Team,
        parsed: &Parsed,
        frame: &[u8],
        told: &mut Explanation,
    ) -> Result<(), DropReason> {
        let sa = told.sa.and_then(|sa| self.sas.outbound.get(&sa));
        let sa = sa.filter(|sa| !sa.deleted).ok_or(DropReason::NoSa)?;
        let plain = parsed.end as usize - usize::from(parsed.l3);
        let ask = self.sealing(now, sa, told.member, parsed);
        // What the engines would say is shown even where the packet does not come so far.
        told.candidates = self.pool.explain(now, team.id, &ask);
        wrap(sa, parsed, frame)?;
        if sa.seq.next().is_none() {
            return Err(DropReason::SaExhausted);
        }
        if sa.seq.left() == 0 {
            return Err(DropReason::SaNotGranted);
        }
        let Some(engine) = self.pool.would_place(team.id, &ask) else {
            let busy = |candidate: &Candidate| {
                matches!(
                    candidate.verdict,
                    Verdict::Full | Verdict::BeyondSpill | Verdict::NoHeadroom
                )
            };
            return Err(if told.candidates.iter().any(busy) {
                DropReason::EngineFull
            } else {
                DropReason::NoEngine
            });
        };
        told.engine = Some(engine.0);
        let mut all = told.candidates.iter();
        let chosen = all.find(|candidate| candidate.verdict == Verdict::Chosen);
        told.class = chosen.map(|candidate| candidate.class);
        let sealed = esp::sealed_len(plain) as u64;
        let member = told.member.unwrap_or_default();
        let deliverer = self.deliverer(team, member, engine, sealed);
        told.deliverer = Some(deliverer);
        told.delivery = Some(if deliverer == member {
            Way::Return
        } else {
            Way::Direct
        });
        Ok(())
    }
}

fn sentence(told: &Explanation, dropped: Option<DropReason>) -> String {
    let number =
        |what: &str, id: Option<u32>| id.map_or(String::new(), |id| format!("{what} {id}"));
    let by = match told.policy {
        Some(policy) => format!("policy {policy} says {}", action(told.action)),
        None => format!("rule {} says {}", told.rule, action(told.action)),
    };
    if let Some(reason) = dropped {
        let help = reason.help().trim_end_matches('.');
        let sa = told.sa.map_or(String::new(), |sa| format!(" (SA {sa})"));
        return format!("{by}, but it would be dropped{sa}: {help}.");
    }
    let Some(sa) = told.sa else {
        return format!("{by}: it leaves by {}.", number("member", told.member));
    };
    let sends = match told.delivery {
        Some(Way::Direct) => format!(
            "which delivers it directly by its own {}",
            number("member", told.deliverer)
        ),
        Some(Way::Return) | None => "which returns it".to_owned(),
    };
    format!(
        "{by}: its flow belongs to {}, so SA {sa}; {} is the cheapest that may seal it now, {sends}.",
        number("member", told.member),
        number("engine", told.engine),
    )
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Protect => "protect",
        Action::Bypass => "bypass",
        Action::Discard => "discard",
    }
}

//! Which algorithm a case is for, by ours.

use esprit_crypto::Algorithm;

use crate::case::EspCase;

/// The algorithm of a case; where there is none, the name of what is missing.
pub fn of(case: &EspCase) -> Result<Algorithm, String> {
    // A GCM key says by its length which AES it is for.
    let key_bits = case.key.0.len() * 8;
    let missing = || match (case.auth.as_str(), case.unverified) {
        (_, Some(_)) => format!("{} with an unknown ICV", case.alg),
        ("none", None) => match case.alg.strip_prefix("aes-") {
            Some(rest) => format!("aes-{key_bits}-{rest}"),
            None => case.alg.clone(),
        },
        (auth, None) => format!("{}+{auth}", case.alg),
    };
    if case.alg != "aes-gcm-16" || case.auth != "none" || case.unverified.is_some() {
        return Err(missing());
    }
    let wanted = format!("aes-{key_bits}-gcm-16");
    Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == wanted)
        .ok_or_else(missing)
}

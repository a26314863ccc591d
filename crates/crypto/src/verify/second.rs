//! Another implementation than the worker's: RustCrypto's, of other authors, in another language. What
//! an engine seals it opens, and what it seals the engine opens. For the processor's own engines this
//! is the only witness that is not themselves.

use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;

use crate::key::{AeadKey, Algorithm, Direction, NONCE_LEN};
use crate::verify::known::{expect, one_to_open, pattern};
use crate::verify::runner::{Runner, sealing};

/// Bytes of plaintext and of additional data: around a block, a packet, a jumbo frame.
const LENGTHS: [(usize, usize); 8] = [
    (0, 8),
    (1, 12),
    (15, 8),
    (16, 12),
    (33, 0),
    (257, 8),
    (1400, 8),
    (8999, 12),
];

fn by<C: KeyInit + Aead>(
    direction: Direction,
    key: &[u8],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(key).ok()?;
    let nonce = nonce.as_slice().try_into().ok()?;
    match direction {
        Direction::Seal => cipher.encrypt(nonce, Payload { msg, aad }).ok(),
        Direction::Open => cipher.decrypt(nonce, Payload { msg, aad }).ok(),
    }
}

/// What the other implementation makes of `msg`; none where the tag does not fit.
fn other(
    algorithm: Algorithm,
    direction: Direction,
    key: &[u8],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Aes128Gcm16 => by::<Aes128Gcm>(direction, key, nonce, aad, msg),
        Algorithm::Aes256Gcm16 => by::<Aes256Gcm>(direction, key, nonce, aad, msg),
        Algorithm::ChaCha20Poly1305 => by::<ChaCha20Poly1305>(direction, key, nonce, aad, msg),
    }
}

/// Round trips; answers how many there were.
pub(crate) fn check(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<usize, String> {
    let secret = pattern(algorithm.key_len(), 91);
    let key = AeadKey::new(algorithm, &secret).map_err(|error| error.to_string())?;
    for (turn, &(len, aad_len)) in LENGTHS.iter().enumerate() {
        let (plain, aad) = (pattern(len, 17 + turn), pattern(aad_len, 23));
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&pattern(NONCE_LEN, 40 + turn));
        let failed = |what: &str| {
            format!(
                "{what}, {len} bytes with {aad_len} of additional data, by another implementation"
            )
        };
        match direction {
            Direction::Seal => {
                let mut seal = sealing(runner.share(&plain)?, 1, &aad, 0);
                seal.ops[0].nonce = nonce;
                let (job, _) = runner.run(&key, direction, &Arc::new(seal))?;
                let sealed = job.dst.data();
                let opened = other(algorithm, Direction::Open, &secret, &nonce, &aad, sealed);
                if opened.as_deref() != Some(&plain[..]) {
                    return Err(failed("what it sealed is not opened"));
                }
            }
            Direction::Open => {
                let sealed = other(algorithm, Direction::Seal, &secret, &nonce, &aad, &plain)
                    .ok_or_else(|| failed("not sealed"))?;
                let mut open = one_to_open(runner, &sealed, &aad)?;
                open.ops[0].nonce = nonce;
                expect(runner, &key, direction, &Arc::new(open), &plain)
                    .map_err(|why| failed(&format!("what was sealed: {why}")))?;
            }
        }
    }
    Ok(LENGTHS.len())
}

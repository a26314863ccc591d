use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};

use super::*;

const NONCE: [u8; NONCE_LEN] = [7, 1, 9, 250, 33, 0, 255, 128, 4, 90, 61, 18];

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 131 % 251) as u8).collect()
}

/// What RustCrypto makes of it: ciphertext and ICV.
fn sealed_by_others(key: &[u8], aad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; ICV_LEN]) {
    let mut text = plain.to_vec();
    let nonce = NONCE.into();
    let icv = if key.len() == 16 {
        let cipher = Aes128Gcm::new_from_slice(key).unwrap();
        cipher.encrypt_inout_detached(&nonce, aad, text.as_mut_slice().into())
    } else {
        let cipher = Aes256Gcm::new_from_slice(key).unwrap();
        cipher.encrypt_inout_detached(&nonce, aad, text.as_mut_slice().into())
    };
    (text, icv.unwrap().into())
}

fn agrees<const KEYS: usize>(key: &[u8], aad: &[u8], plain: &[u8]) {
    let Some(ours) = Key::<KEYS>::new(key) else {
        // The rest of the suite runs by aws-lc then.
        eprintln!("no vector AES here: nothing to compare");
        return;
    };
    let expected = sealed_by_others(key, aad, plain);
    let len = plain.len();

    let mut text = vec![0xa5; len];
    let icv = ours.seal(&NONCE, aad, [plain, &[], &[]], &mut text);
    assert_eq!((text, icv), expected, "in one piece, {len} bytes");

    for head in [0, 1, 40, 52, 300] {
        let (head, rest) = plain.split_at(head.min(len));
        let (body, tail) = rest.split_at(rest.len() - rest.len().min(5));
        let mut text = vec![0xa5; len];
        let icv = ours.seal(&NONCE, aad, [head, body, tail], &mut text);
        assert_eq!(
            (text, icv),
            expected,
            "{} + {} bytes",
            head.len(),
            body.len()
        );
    }

    let mut opened = vec![0xa5; len];
    let icv = ours.open(&NONCE, aad, &expected.0, &mut opened);
    assert_eq!(
        (opened, icv),
        (plain.to_vec(), expected.1),
        "open, {len} bytes"
    );
}

#[test]
fn every_length_agrees_with_another_implementation() {
    // Twice the widest turn and all that can be left of one, with AAD of ESP's two lengths, of
    // none, and of more than a block.
    for len in 0..=3 * CHUNK + 17 {
        let aad = bytes([8, 12, 0, 33][len % 4]);
        agrees::<11>(&bytes(16), &aad, &bytes(len));
        agrees::<15>(&bytes(32), &aad, &bytes(len));
    }
    for len in [1400, 9000, 65_535] {
        agrees::<11>(&bytes(16), &bytes(12), &bytes(len));
        agrees::<15>(&bytes(32), &bytes(12), &bytes(len));
    }
}

/// Keys for which the hash's key has its highest bit set, and not: the step that most
/// implementations get wrong first.
#[test]
fn many_keys_agree_with_another_implementation() {
    for seed in 0..64_u8 {
        let key = bytes(32).iter().map(|byte| byte ^ seed).collect::<Vec<_>>();
        agrees::<11>(&key[..16], b"", &bytes(272));
        agrees::<15>(&key, b"", &bytes(272));
    }
}

#[test]
fn bytes_that_are_no_key_are_refused() {
    assert!(Key::<11>::new(&[0; 32]).is_none());
    assert!(Key::<15>::new(&[0; 16]).is_none());
    assert!(Key::<13>::new(&[0; 24]).is_none());
}

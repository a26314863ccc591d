//! What every engine has to know.
//!
//! - The cases of McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, that
//!   carry no more additional data than ESP has.
//! - ICVs at the lengths where implementations change their stride, and at those of packets,
//!   computed by OpenSSL 3.5. The text under them is compared with aws-lc's, which in turn has
//!   to agree with them.
//! - One wrong bit, anywhere, is noticed, in that packet and in no other.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::engines::aws_lc;
use crate::job::{JobInput, Op};
use crate::key::{AeadKey, Algorithm, Direction, ICV_LEN};
use crate::verify::runner::{Runner, nonce, opening, padded, sealing};

/// A case from the paper: key, nonce, plaintext, ciphertext and tag, in hexadecimal.
struct Published {
    name: &'static str,
    key: &'static str,
    nonce: &'static str,
    plain: &'static str,
    sealed: &'static str,
}

const AES_128: [Published; 3] = [
    Published {
        name: "test case 1",
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        plain: "",
        sealed: "58e2fccefa7e3061367f1d57a4e7455a",
    },
    Published {
        name: "test case 2",
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        plain: "00000000000000000000000000000000",
        sealed: "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    },
    Published {
        name: "test case 3",
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985\
                 4d5c2af327cd64a62cf35abd2ba6fab4",
    },
];

const AES_256: [Published; 3] = [
    Published {
        name: "test case 13",
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        plain: "",
        sealed: "530f8afbc74536b9a963b4f1c4cb738b",
    },
    Published {
        name: "test case 14",
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        plain: "00000000000000000000000000000000",
        sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    },
    Published {
        name: "test case 15",
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad\
                 b094dac5d93471bdec1a502270e3cc6c",
    },
];

/// Bytes of plaintext, bytes of additional data, ICV. Byte i of key, nonce, plaintext and
/// additional data is `7i + i/251 + s` modulo 256, with s from 1 to 4.
type Computed = (usize, usize, &'static str);

const AES_128_ICVS: [Computed; 15] = [
    (0, 8, "1f2801a6301c45e05e75090194cb0dbc"),
    (1, 12, "d73ff8bd1f64a1b6edff1c3bb8827c80"),
    (15, 8, "04e7a9d70549219e983c0356cb0d5872"),
    (16, 0, "8978f6dcfc01cdbc9bfead72fb7e1e3a"),
    (17, 8, "c76851231ba0bdfeda4c275b7d96a5e6"),
    (63, 12, "d42a9f884df87f5786f906a97b58b2e4"),
    (64, 8, "12b346565b3b5dc4c0c5ed4512b15c21"),
    (65, 8, "39b8c03e7200409e1d8db9fec45e6305"),
    (255, 12, "7c742aac214e181c8494e3354ef047a9"),
    (256, 8, "80a1e94cf805557dd9bb24e4fa31e137"),
    (1400, 8, "82e99db22c15dd74b0ddf3442dfc3ed1"),
    (1401, 12, "264ea4f9868e4513130c55252c6d5878"),
    (1500, 8, "c01d7fdc295f68e32569c42d2db57238"),
    (4096, 12, "adb3f60c7e2be7a77bf06b80b371868f"),
    (9000, 8, "c65442fbb9a9fc963f214dfc27a6d946"),
];

const AES_256_ICVS: [Computed; 15] = [
    (0, 8, "af7efc2f9d2c9ca2480298234fbc2d92"),
    (1, 12, "94b2feb9d4127a174462e69de8f61a18"),
    (15, 8, "9d677214b0847ab28d31d48bbf8d5984"),
    (16, 0, "c501d3a6c4171031fc3ffff40e8b533f"),
    (17, 8, "a5a7178b4a6b640e2abf7e29426bdaab"),
    (63, 12, "4cb077df0aac51e7f0213bc51355bb8f"),
    (64, 8, "05b3c98a065ff861153001c70e4fa80a"),
    (65, 8, "5403bc2f825c98ac442bc823a46d44a3"),
    (255, 12, "e45a8a64af77b415e33fb28b4560894c"),
    (256, 8, "adbfa34f0d3fa6cbff9407e58f4dfb25"),
    (1400, 8, "ad6407cbf12b47d8e87ba4a059466d57"),
    (1401, 12, "7b9456bcf5d30f2479ef3a346edda341"),
    (1500, 8, "a14dc18f2ae23d2502fa764fdbdeaed8"),
    (4096, 12, "81d2bb6935e05c3d5e2d0c49d50e4aa8"),
    (9000, 8, "6bb52325542744d72d4c8b3857eeb396"),
];

const fn cases(algorithm: Algorithm) -> (&'static [Published], &'static [Computed]) {
    match algorithm {
        Algorithm::Aes128Gcm16 => (&AES_128, &AES_128_ICVS),
        Algorithm::Aes256Gcm16 => (&AES_256, &AES_256_ICVS),
    }
}

/// Has the engine do all of it; the error says what it got wrong.
pub(crate) fn check(runner: &mut Runner<'_>, algorithm: Algorithm) -> Result<(), String> {
    let (published, computed) = cases(algorithm);
    for case in published {
        check_published(runner, algorithm, case).map_err(|why| format!("{}: {why}", case.name))?;
    }
    let key = key(algorithm, &pattern(algorithm.key_len(), 1))?;
    for &(len, aad_len, icv) in computed {
        check_computed(runner, &key, len, aad_len, &hex(icv))
            .map_err(|why| format!("{len} bytes with {aad_len} of additional data: {why}"))?;
    }
    check_gather(runner, &key).map_err(|why| format!("a job of parts: {why}"))?;
    check_verdicts(runner, &key).map_err(|why| format!("a job with forgeries: {why}"))
}

fn check_published(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    case: &Published,
) -> Result<(), String> {
    let key = key(algorithm, &hex(case.key))?;
    let (plain, sealed) = (hex(case.plain), hex(case.sealed));
    let mut seal = sealing(runner.share(&plain)?, 1, &[], 0);
    for op in &mut seal.ops {
        op.nonce.copy_from_slice(&hex(case.nonce));
    }
    expect(runner, &key, Direction::Seal, &Arc::new(seal), &sealed)?;
    let mut open = one_to_open(runner, &sealed, &[])?;
    for op in &mut open.ops {
        op.nonce.copy_from_slice(&hex(case.nonce));
    }
    expect(runner, &key, Direction::Open, &Arc::new(open), &plain)
}

fn check_computed(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    len: usize,
    aad_len: usize,
    icv: &[u8],
) -> Result<(), String> {
    let (plain, aad) = (pattern(len, 3), pattern(aad_len, 4));
    let mut seal = sealing(runner.share(&plain)?, 1, &aad, 0);
    seal.ops[0].nonce.copy_from_slice(&pattern(12, 2));
    let mut want = vec![0; len + ICV_LEN];
    aws_lc::work_op(key, Direction::Seal, &seal, &seal.ops[0], &mut want);
    want[len..].copy_from_slice(icv);
    expect(runner, key, Direction::Seal, &Arc::new(seal), &want)?;

    let mut open = one_to_open(runner, &want, &aad)?;
    open.ops[0].nonce.copy_from_slice(&pattern(12, 2));
    expect(runner, key, Direction::Open, &Arc::new(open), &plain)?;

    // The last bit of the ICV, and the first of what it protects.
    for (byte, bit) in [(len + ICV_LEN - 1, 1), (0, 0x80)] {
        let mut forged = want.clone();
        forged[byte] ^= bit;
        let mut open = one_to_open(runner, &forged, &aad)?;
        open.ops[0].nonce.copy_from_slice(&pattern(12, 2));
        let (job, _) = runner.run(key, Direction::Open, &Arc::new(open))?;
        if (job.bad_icv, job.failed) != (1, 0) {
            return Err(format!("byte {byte} was changed, and it did not notice"));
        }
    }
    Ok(())
}

/// Prefix, head, body and tail from three places, several lengths, in one job.
fn check_gather(runner: &mut Runner<'_>, key: &Arc<AeadKey>) -> Result<(), String> {
    let headers = pattern(16 + 40 + 5, 5);
    let frame = runner.share(&pattern(3000, 6))?;
    let mut ops = SmallVec::<[Op; 8]>::new();
    let mut dst = 0;
    for (number, len) in [1448_u32, 0, 1, 1448, 103].into_iter().enumerate() {
        let op = Op {
            nonce: nonce(number as u64),
            aad: padded(&[number as u8; 8]),
            aad_len: 8,
            prefix: (0, 16),
            head: (16, 56),
            tail: (56, 61),
            body: (100 * number as u32, 100 * number as u32 + len),
            dst,
            ..Op::default()
        };
        dst += op.out_len(Direction::Seal) as u32;
        ops.push(op);
    }
    let input = JobInput {
        frames: smallvec::smallvec![frame],
        headers,
        ops,
    };
    let mut want = vec![0; dst as usize];
    for op in &input.ops {
        let out = &mut want[op.dst as usize..][..op.out_len(Direction::Seal)];
        aws_lc::work_op(key, Direction::Seal, &input, op, out);
    }
    expect(runner, key, Direction::Seal, &Arc::new(input), &want)
}

/// Five packets of a job of eight are forged: the five, and no other, are reported.
fn check_verdicts(runner: &mut Runner<'_>, key: &Arc<AeadKey>) -> Result<(), String> {
    const FORGED: u64 = 0b1011_0110;
    const LEN: usize = 100;
    let plain = pattern(LEN, 7);
    let seal = Arc::new(sealing(runner.share(&plain)?, 8, &[1; 8], 100));
    let (sealed, _) = runner.run(key, Direction::Seal, &seal)?;
    let mut bytes = sealed.dst.data().to_vec();
    for number in (0..8).filter(|number| FORGED & (1 << number) != 0) {
        bytes[number * (LEN + ICV_LEN) + 13 * number] ^= 0x10;
    }
    let open = Arc::new(opening(runner.share(&bytes)?, &seal, LEN));
    let (job, _) = runner.run(key, Direction::Open, &open)?;
    if (job.bad_icv, job.failed) != (FORGED, 0) {
        return Err(format!(
            "{FORGED:#b} were forged, it says {:#b} and failed at {:#b}",
            job.bad_icv, job.failed
        ));
    }
    for (number, got) in job.dst.data().chunks(LEN).enumerate() {
        if FORGED & (1 << number) == 0 && got != plain {
            return Err(format!("packet {number} is not what was sealed"));
        }
    }
    Ok(())
}

fn one_to_open(runner: &Runner<'_>, sealed: &[u8], aad: &[u8]) -> Result<JobInput, String> {
    let each = sealed.len() - ICV_LEN;
    let frame = runner.share(sealed)?;
    let of = sealing(frame.clone(), 1, aad, 0);
    Ok(opening(frame, &of, each))
}

fn expect(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
    input: &Arc<JobInput>,
    want: &[u8],
) -> Result<(), String> {
    let what = match direction {
        Direction::Seal => "sealed",
        Direction::Open => "opened",
    };
    let (job, _) = runner.run(key, direction, input)?;
    if (job.bad_icv, job.failed) != (0, 0) {
        return Err(format!(
            "not {what}: wrong ICVs {:#b}, failed {:#b}",
            job.bad_icv, job.failed
        ));
    }
    let got = job.dst.data();
    match got.iter().zip(want).position(|(got, want)| got != want) {
        None if got.len() == want.len() => Ok(()),
        Some(at) => Err(format!(
            "{what} wrongly at byte {at}: {:#04x}, not {:#04x}",
            got[at], want[at]
        )),
        None => Err(format!("{what} to {} bytes, not {}", got.len(), want.len())),
    }
}

fn key(algorithm: Algorithm, bytes: &[u8]) -> Result<Arc<AeadKey>, String> {
    AeadKey::new(algorithm, bytes).map_err(|error| error.to_string())
}

fn pattern(len: usize, start: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251 + start) as u8).collect()
}

/// The bytes that a constant of this file stands for; other characters do not occur in them.
fn hex(digits: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, &c| byte << 4 | digit(c)))
        .collect()
}

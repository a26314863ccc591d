//! What every engine has to know.
//!
//! - The cases of McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, that
//!   carry no more additional data than ESP has; for ChaCha20-Poly1305 the sealings of RFC
//!   8439, section 2.8.2 and appendix A.5.
//! - ICVs at the lengths where implementations change their stride, and at those of packets,
//!   computed by OpenSSL 3.5 (ChaCha20-Poly1305: 4.0). The text under them is compared with aws-lc's, which in turn has
//!   to agree with them.
//! - One wrong bit, anywhere, is noticed, in that packet and in no other.

use std::sync::Arc;

use crate::engines::software;
use crate::job::{JobInput, Op};
use crate::key::{AeadKey, Algorithm, Direction, ICV_LEN};
use crate::verify::runner::{Runner, nonce, opening, padded, sealing, worked};

/// A case from the papers: key, nonce, additional data, plaintext, ciphertext and tag, in
/// hexadecimal.
struct Published {
    name: &'static str,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plain: &'static str,
    sealed: &'static str,
}

const AES_128: [Published; 3] = [
    Published {
        name: "test case 1",
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        plain: "",
        sealed: "58e2fccefa7e3061367f1d57a4e7455a",
    },
    Published {
        name: "test case 2",
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        plain: "00000000000000000000000000000000",
        sealed: "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    },
    Published {
        name: "test case 3",
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "",
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
        aad: "",
        plain: "",
        sealed: "530f8afbc74536b9a963b4f1c4cb738b",
    },
    Published {
        name: "test case 14",
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        plain: "00000000000000000000000000000000",
        sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    },
    Published {
        name: "test case 15",
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad\
                 b094dac5d93471bdec1a502270e3cc6c",
    },
];

const CHACHA20_POLY1305: [Published; 2] = [
    Published {
        name: "section 2.8.2",
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce: "070000004041424344454647",
        aad: "50515253c0c1c2c3c4c5c6c7",
        plain: "4c616469657320616e642047656e746c656d656e206f662074686520636c6173\
                73206f66202739393a204966204920636f756c64206f6666657220796f75206f\
                6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73\
                637265656e20776f756c642062652069742e",
        sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
                3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
                92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
                3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd060\
                0691",
    },
    Published {
        name: "appendix A.5",
        key: "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        nonce: "000000000102030405060708",
        aad: "f33388860000000000004e91",
        plain: "496e7465726e65742d4472616674732061726520647261667420646f63756d65\
                6e74732076616c696420666f722061206d6178696d756d206f6620736978206d\
                6f6e74687320616e64206d617920626520757064617465642c207265706c6163\
                65642c206f72206f62736f6c65746564206279206f7468657220646f63756d65\
                6e747320617420616e792074696d652e20497420697320696e617070726f7072\
                6961746520746f2075736520496e7465726e65742d4472616674732061732072\
                65666572656e6365206d6174657269616c206f7220746f206369746520746865\
                6d206f74686572207468616e206173202fe2809c776f726b20696e2070726f67\
                726573732e2fe2809d",
        sealed: "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2\
                4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf\
                332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855\
                9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4\
                b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e\
                af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a\
                0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10\
                49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29\
                a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38",
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

const CHACHA20_POLY1305_ICVS: [Computed; 15] = [
    (0, 8, "575ba9e557f7574a51fe2afb276b7507"),
    (1, 12, "f49d6ea83d01c0f14e180836cb6dd5e7"),
    (15, 8, "5b0acaf9e78144002c5c6d4fa0dc00b5"),
    (16, 0, "c5cc402b33c0530ad3e233a9469a3a32"),
    (17, 8, "96fe386e6785589f33ddf4a43dffe576"),
    (63, 12, "a047e0eafdd7fe3c16d3d4138b0cb97d"),
    (64, 8, "3bdac1b4bca2b915de74222ae2d01bcf"),
    (65, 8, "c5623f8adb89e0ad68cca392873ad1a1"),
    (255, 12, "156d9434549000f8d983c5bfc2b6eee2"),
    (256, 8, "21618da9cc771afc4801726dceb7a960"),
    (1400, 8, "afb8447a9a2d82a13e7e88353115cb0d"),
    (1401, 12, "07fc9aefb844fc3c48cef18dc6f9f201"),
    (1500, 8, "a2f4a0e6b60ebd90147f741338c2a52b"),
    (4096, 12, "af1b8f7b0f1c328dcad45ba4f7c464f6"),
    (9000, 8, "f98e90bc352839b23d09000afa95566f"),
];

const fn cases(algorithm: Algorithm) -> (&'static [Published], &'static [Computed]) {
    match algorithm {
        Algorithm::Aes128Gcm16 => (&AES_128, &AES_128_ICVS),
        Algorithm::Aes256Gcm16 => (&AES_256, &AES_256_ICVS),
        Algorithm::ChaCha20Poly1305 => (&CHACHA20_POLY1305, &CHACHA20_POLY1305_ICVS),
    }
}

/// Has the engine do all of it that is of one direction; the error says what it got wrong.
pub(crate) fn check(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<(), String> {
    let (published, computed) = cases(algorithm);
    for case in published {
        check_published(runner, algorithm, direction, case)
            .map_err(|why| format!("{}: {why}", case.name))?;
    }
    let key = key(algorithm, &pattern(algorithm.key_len(), 1))?;
    for &(len, aad_len, icv) in computed {
        check_computed(runner, &key, direction, len, aad_len, &hex(icv))
            .map_err(|why| format!("{len} bytes with {aad_len} of additional data: {why}"))?;
    }
    check_long_aad(runner, &key, direction)
        .map_err(|why| format!("long additional data: {why}"))?;
    match direction {
        Direction::Seal => {
            check_gather(runner, &key).map_err(|why| format!("a job of parts: {why}"))
        }
        Direction::Open => {
            check_verdicts(runner, &key).map_err(|why| format!("a job with forgeries: {why}"))
        }
    }
}

fn check_published(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
    case: &Published,
) -> Result<(), String> {
    let key = key(algorithm, &hex(case.key))?;
    let (plain, sealed, aad) = (hex(case.plain), hex(case.sealed), hex(case.aad));
    let mut seal = sealing(runner.share(&plain)?, 1, &aad, 0);
    for op in &mut seal.ops {
        op.nonce.copy_from_slice(&hex(case.nonce));
    }
    if direction == Direction::Seal {
        return expect(runner, &key, direction, &Arc::new(seal), &sealed);
    }
    let mut open = one_to_open(runner, &sealed, &aad)?;
    for op in &mut open.ops {
        op.nonce.copy_from_slice(&hex(case.nonce));
    }
    expect(runner, &key, direction, &Arc::new(open), &plain)
}

fn check_computed(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
    len: usize,
    aad_len: usize,
    icv: &[u8],
) -> Result<(), String> {
    let (plain, aad) = (pattern(len, 3), pattern(aad_len, 4));
    let mut seal = sealing(runner.share(&plain)?, 1, &aad, 0);
    seal.ops[0].nonce.copy_from_slice(&pattern(12, 2));
    let mut want = vec![0; len + ICV_LEN];
    software::work_op(key, Direction::Seal, &seal, &seal.ops[0], &mut want);
    want[len..].copy_from_slice(icv);
    if direction == Direction::Seal {
        return expect(runner, key, direction, &Arc::new(seal), &want);
    }

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

/// Additional data out of the headers, as applications have them, and a wrong bit at their end.
fn check_long_aad(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
) -> Result<(), String> {
    const LEN: usize = 100;
    let (plain, aad) = (pattern(LEN, 3), pattern(333, 4));
    let with_aad = |input: JobInput| {
        let mut input = input;
        for op in &mut input.ops {
            op.long_aad = (7, aad.len() as u32);
        }
        input.headers.clone_from(&aad);
        input
    };
    let seal = with_aad(sealing(runner.share(&plain)?, 1, &[], 0));
    let mut want = vec![0; LEN + ICV_LEN];
    software::work_op(key, Direction::Seal, &seal, &seal.ops[0], &mut want);
    if direction == Direction::Seal {
        return expect(runner, key, direction, &Arc::new(seal), &want);
    }
    let open = with_aad(one_to_open(runner, &want, &[])?);
    expect(runner, key, Direction::Open, &Arc::new(open), &plain)?;
    let mut forged = with_aad(one_to_open(runner, &want, &[])?);
    forged.headers[aad.len() - 1] ^= 1;
    let (job, _) = runner.run(key, Direction::Open, &Arc::new(forged))?;
    if (job.bad_icv, job.failed) != (1, 0) {
        return Err("their last bit was changed, and it did not notice".to_owned());
    }
    Ok(())
}

/// Prefix, head, body and tail from three places, several lengths, in one job.
fn check_gather(runner: &mut Runner<'_>, key: &Arc<AeadKey>) -> Result<(), String> {
    let headers = pattern(16 + 40 + 5, 5);
    let frame = runner.share(&pattern(3000, 6))?;
    let mut ops = Vec::new();
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
    let want = worked(key, Direction::Seal, &input);
    expect(runner, key, Direction::Seal, &Arc::new(input), &want)
}

/// Five packets of a job of eight are forged: the five, and no other, are reported.
fn check_verdicts(runner: &mut Runner<'_>, key: &Arc<AeadKey>) -> Result<(), String> {
    const FORGED: u64 = 0b1011_0110;
    const LEN: usize = 100;
    let plain = pattern(LEN, 7);
    let seal = sealing(runner.share(&plain)?, 8, &[1; 8], 100);
    let mut bytes = worked(key, Direction::Seal, &seal);
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

pub(crate) fn one_to_open(
    runner: &Runner<'_>,
    sealed: &[u8],
    aad: &[u8],
) -> Result<JobInput, String> {
    let each = sealed.len() - ICV_LEN;
    let frame = runner.share(sealed)?;
    let of = sealing(frame.clone(), 1, aad, 0);
    Ok(opening(frame, &of, each))
}

pub(crate) fn expect(
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

pub(crate) fn pattern(len: usize, start: usize) -> Vec<u8> {
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

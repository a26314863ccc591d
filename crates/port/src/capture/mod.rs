//! The eavesdropper: hears all that passes an interface, both ways, and looks for plaintext.
//!
//! It sees frames as the host has them, super-frames whole, with VLAN tags put back. For tests and
//! demonstrations; it is no part of the data path.

mod classify;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use esprit_packet::{Pool, RxFrame, Time};
use memchr::memmem::Finder;
use serde::Serialize;

use crate::packet::{PacketOptions, PacketPort};
use crate::pcap::PcapWriter;
use crate::wait::Waiter;
use crate::{Port, PortError, device};
use classify::{Kind, classify};

/// Asked of the kernel for what waits to be looked at.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Frames per look at the socket.
const BATCH: usize = 32;

/// Frames with a needle whose bytes are kept.
const FIRST_HITS: usize = 8;

/// Frames that are still looked at after [`Capture::stop`]: more than the receive buffer holds of
/// the smallest, so a wire that never rests does not keep the thread.
const LAST_FRAMES: u64 = 1 << 18;

/// How soon [`Capture::stop`] is heard on a silent wire.
const LOOK_UP: Time = Time::from_millis(20);

/// What to look for and what to keep.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// Byte strings that must not be seen. One is found when it lies within one frame as the host
    /// has it: a short one, repeated in the traffic, is surest.
    pub needles: Vec<Vec<u8>>,
    /// Of the ESP frames, the first and every n-th after it is kept; 0: none.
    pub sample_every: u64,
    /// How many ESP frames are kept at most.
    pub keep: usize,
    /// Where all frames go, as a pcap file.
    pub pcap: Option<PathBuf>,
}

/// A frame that held a needle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Which needle, by its place in the options.
    pub needle: usize,
    /// Where in the frame it starts.
    pub offset: usize,
    /// The frame.
    pub frame: Vec<u8>,
}

/// An ESP frame as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Payload bytes per segment where it is a super-frame, otherwise 0.
    pub gso_size: u16,
    /// The frame.
    pub frame: Vec<u8>,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureResult {
    /// Frames; a super-frame is one.
    pub frames: u64,
    /// Bytes, from the Ethernet header on.
    pub bytes: u64,
    /// ESP frames, native or in UDP.
    pub esp: u64,
    /// IKE frames and NAT keepalives.
    pub ike: u64,
    /// ARP frames.
    pub arp: u64,
    /// Neighbour discovery and multicast listener reports.
    pub neighbour: u64,
    /// All other IP frames: plaintext.
    pub plain: u64,
    /// Frames that are not IP.
    pub other: u64,
    /// Frames that passed unseen (the kernel's count and our own): a verdict needs 0.
    pub drops: u64,
    /// Frames in which each needle was found, in the options' order.
    pub hits: Vec<u64>,
    /// The first frames with a needle.
    pub first_hits: Vec<Hit>,
    /// ESP frames that were kept.
    pub samples: Vec<Sample>,
    /// The first frame of other IP, where there was one.
    pub first_plain: Option<Vec<u8>>,
    /// What ended the capture before it was stopped, if something did.
    pub ended: Option<String>,
    /// What ended the pcap file, if something did.
    pub pcap_error: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    frames: AtomicU64,
}

/// A capture under way, in a thread of its own.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<CaptureResult>>,
}

impl Capture {
    /// Starts to listen on an interface of the calling thread's network namespace; whatever passes
    /// after this call is heard.
    ///
    /// # Errors
    /// As [`PacketPort::open`], or what the file system says about the pcap file.
    pub fn start(interface: &str, options: CaptureOptions) -> io::Result<Self> {
        let pcap = match &options.pcap {
            Some(path) => Some(PcapWriter::new(BufWriter::new(File::create(path)?))?),
            None => None,
        };
        let port = PacketPort::open(
            device::ifindex(interface)?,
            PacketOptions {
                receive_buffer: RECEIVE_BUFFER,
                ignore_outgoing: false,
                ..PacketOptions::default()
            },
        )?;
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let listener = Listener {
            result: CaptureResult {
                hits: vec![0; options.needles.len()],
                ..CaptureResult::default()
            },
            finders: options
                .needles
                .iter()
                .map(|needle| Finder::new(needle).into_owned())
                .collect(),
            options,
            pcap,
        };
        let thread = std::thread::Builder::new()
            .name("esprit-capture".to_owned())
            .spawn(move || listener.run(port, &for_thread))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Frames looked at so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::Acquire)
    }

    /// Looks at what is still waiting, and says what was heard.
    #[must_use]
    pub fn stop(mut self) -> CaptureResult {
        self.end().unwrap_or_else(|| CaptureResult {
            ended: Some("the capture's thread panicked".to_owned()),
            ..CaptureResult::default()
        })
    }

    fn end(&mut self) -> Option<CaptureResult> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

struct Listener {
    result: CaptureResult,
    finders: Vec<Finder<'static>>,
    options: CaptureOptions,
    pcap: Option<PcapWriter<BufWriter<File>>>,
}

impl Listener {
    fn run(mut self, mut port: PacketPort, shared: &Shared) -> CaptureResult {
        // Landing places, and as many frames as one look brings.
        let pool = Pool::new(2 * BATCH, 2 * BATCH);
        let mut frames = Vec::with_capacity(BATCH);
        let mut waiter = Waiter::new();
        let mut last_frame = u64::MAX;
        loop {
            // Read before the socket is: what is empty after it is empty for good.
            let stopping = shared.stop.load(Ordering::Acquire);
            if stopping {
                last_frame = last_frame.min(self.result.frames + LAST_FRAMES);
            }
            match port.recv(&pool, &mut frames, BATCH) {
                // A pulled link is no end: what passes once it is back is heard too.
                Ok(0) | Err(PortError::Down) if stopping => break,
                Ok(0) | Err(PortError::Down) => {
                    waiter.clear();
                    waiter.extend(port.fd());
                    waiter.wait(Some(LOOK_UP));
                }
                Ok(_) => {
                    for frame in frames.drain(..) {
                        self.look(&frame);
                    }
                    shared.frames.store(self.result.frames, Ordering::Release);
                }
                Err(error) => {
                    self.result.ended = Some(error.to_string());
                    break;
                }
            }
            if self.result.frames >= last_frame {
                break;
            }
        }
        port.refresh();
        let counters = port.counters();
        self.result.drops = counters.rx_kernel_drops
            + counters.rx_no_buffer
            + counters.rx_bad_length
            + counters.rx_undescribed;
        if let Some(mut pcap) = self.pcap.take()
            && let Err(error) = pcap.flush()
        {
            self.result.pcap_error = Some(error.to_string());
        }
        self.result
    }

    fn look(&mut self, frame: &RxFrame) {
        let bytes = frame.buf.data();
        let result = &mut self.result;
        result.frames += 1;
        result.bytes += bytes.len() as u64;
        match classify(bytes) {
            Kind::Esp => {
                let every = self.options.sample_every;
                let due = every != 0 && result.esp.is_multiple_of(every);
                if due && result.samples.len() < self.options.keep {
                    result.samples.push(Sample {
                        gso_size: if frame.vnet.is_gso() {
                            frame.vnet.gso_size
                        } else {
                            0
                        },
                        frame: bytes.to_vec(),
                    });
                }
                result.esp += 1;
            }
            Kind::Ike => result.ike += 1,
            Kind::Arp => result.arp += 1,
            Kind::Neighbour => result.neighbour += 1,
            Kind::Plain => {
                result.plain += 1;
                result.first_plain.get_or_insert_with(|| bytes.to_vec());
            }
            Kind::Other => result.other += 1,
        }
        for (needle, finder) in self.finders.iter().enumerate() {
            if let Some(offset) = finder.find(bytes) {
                result.hits[needle] += 1;
                if result.first_hits.len() < FIRST_HITS {
                    result.first_hits.push(Hit {
                        needle,
                        offset,
                        frame: bytes.to_vec(),
                    });
                }
            }
        }
        if let Some(pcap) = &mut self.pcap
            && let Err(error) = pcap.write(wall_clock(), std::iter::once(bytes))
        {
            result.pcap_error = Some(error.to_string());
            self.pcap = None;
        }
    }
}

/// Time since 1970, as analysers show it.
fn wall_clock() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

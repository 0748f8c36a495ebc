//! A server that breaks the protocol, against the wire session.
//!
//! It knows the password, so that what comes after SCRAM is reached, and then says mutated frames and hangs up. Promised: no column and
//! no row is released before `BEGIN` was confirmed, and a session in which anything but a plain error happened is not used again.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use pgteller::database::target::{Host, Target};
use pgteller::database::wire::{Field, Job, RowSink, SinkStop, Wire, WireError};
use pgteller::secret::Secret;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::mutate::Mutator;

const PASSWORD: &str = "secret";

/// Frames as tag and body.
type Frame = (u8, Vec<u8>);

pub struct Server {
    runtime: tokio::runtime::Runtime,
    directory: PathBuf,
    listener: UnixListener,
}

#[derive(Default)]
struct Released(usize);

impl RowSink for Released {
    fn columns(&mut self, _: Vec<Field>) -> Result<(), SinkStop> {
        self.0 += 1;
        Ok(())
    }

    fn row(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        self.0 += 1 + cells.count();
        Ok(())
    }
}

impl Server {
    pub fn new(runtime: tokio::runtime::Runtime) -> Self {
        let directory = std::env::temp_dir().join(format!("pgteller-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = runtime.block_on(async { UnixListener::bind(directory.join(".s.PGSQL.1")).unwrap() });
        let server = Self { runtime, directory, listener };
        // Without a mutation both conversations go through to their ends.
        let (ended, released, clean) = server.talk(&bytes(&greeting()), &bytes(&answering()));
        assert!(matches!(ended, Some(Ok(()))) && released == 7 && clean, "{ended:?}, {released}");
        let (ended, released, clean) = server.talk(&bytes(&greeting()), &bytes(&failing()));
        assert!(matches!(ended, Some(Err(WireError::Server(_)))) && released == 0 && clean, "{ended:?}, {released}");
        server
    }

    /// One session.
    pub fn one(&self, mutator: &mut Mutator) {
        let start = mutated(mutator, greeting(), 12);
        let answer = if mutator.below(3) == 0 { failing() } else { answering() };
        let answer = mutated(mutator, answer, 1);
        mutator.hold(&[start.as_slice(), answer.as_slice()].concat());
        let (ended, released, clean) = self.talk(&start, &answer);
        let begun = released == 0 || begins(&answer);
        assert!(begun, "released {released} things before BEGIN was confirmed");
        match ended {
            Some(Ok(()) | Err(WireError::Server(_))) | None => {}
            Some(Err(_)) => assert!(!clean, "a broken session is called clean"),
        }
    }

    /// What a session says of a conversation: its end, how much it released, whether it would be used again.
    fn talk(&self, start: &[u8], answer: &[u8]) -> (Option<Result<(), WireError>>, usize, bool) {
        let target = Target { host: Host::Unix(self.directory.clone()), port: 1, database: "d".into(), tls: None };
        self.runtime.block_on(async {
            let server = async {
                let (stream, _) = self.listener.accept().await.unwrap();
                // A client that has had enough hangs up.
                let _ = serve(stream, start, answer).await;
            };
            tokio::join!(server, session(&target)).1
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn session(target: &Target) -> (Option<Result<(), WireError>>, usize, bool) {
    let Ok(mut wire) = Wire::connect(target, "r", &Secret::from(PASSWORD), None).await else { return (None, 0, false) };
    let job = Job {
        search_path: "p",
        timeout_ms: 1000,
        sql: "select 1",
        params: &[],
        max_rows: 2,
        tag: "SELECT ",
        witness: Default::default(),
    };
    let mut released = Released::default();
    let ended = wire.run(&job, &mut released).await.map(|_| ());
    (Some(ended), released.0, wire.is_clean())
}

async fn serve(mut stream: UnixStream, start: &[u8], answer: &[u8]) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut startup).await?;
    stream.write_all(&frame(b'R', &[&10_u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat())).await?;
    let first = receive(&mut stream).await?;
    // "SCRAM-SHA-256\0", length, "n,,n=,r=nonce".
    let bare = String::from_utf8_lossy(&first[14 + 4 + 3..]).into_owned();
    let nonce = bare.split("r=").nth(1).unwrap_or_default().to_owned();
    let salt = b"salt";
    let challenge = format!("r={nonce}more,s={},i=1", STANDARD.encode(salt));
    stream.write_all(&frame(b'R', &[&11_u32.to_be_bytes()[..], challenge.as_bytes()].concat())).await?;
    let last = String::from_utf8_lossy(&receive(&mut stream).await?).into_owned();
    let without_proof = last.split(",p=").next().unwrap_or_default();
    let salted = mac(PASSWORD.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let signature = mac(&mac(&salted, b"Server Key"), format!("{bare},{challenge},{without_proof}").as_bytes());
    let signature = format!("v={}", STANDARD.encode(signature));
    stream.write_all(&frame(b'R', &[&12_u32.to_be_bytes()[..], signature.as_bytes()].concat())).await?;
    stream.write_all(start).await?;
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    // Until the client hangs up too: a reset would take away what it has not read yet.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(|_| ())
}

async fn receive(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    stream.read_u8().await?;
    let mut body = vec![0; usize::try_from(stream.read_u32().await?).unwrap() - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn greeting() -> Vec<Frame> {
    vec![
        (b'R', 0_u32.to_be_bytes().to_vec()),
        (b'S', b"server_version\x0018.0\0".to_vec()),
        (b'K', vec![0, 0, 0, 7, 0, 0, 0, 9]),
        (b'Z', b"I".to_vec()),
    ]
}

fn row(cells: &[Option<&[u8]>]) -> Frame {
    let mut body = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            Some(cell) => body.extend([&u32::try_from(cell.len()).unwrap().to_be_bytes()[..], cell].concat()),
            None => body.extend([0xff; 4]),
        }
    }
    (b'D', body)
}

fn begun() -> Vec<Frame> {
    let settings = row(&[Some(b"p"), Some(b"1s"), Some(b"1s")]);
    let started = || vec![(b'1', Vec::new()), (b'2', Vec::new())];
    let mut frames = started();
    frames.push((b'C', b"BEGIN\0".to_vec()));
    frames.extend(started());
    frames.extend([settings, (b'C', b"SELECT 1\0".to_vec())]);
    frames.extend(started());
    frames
}

fn answering() -> Vec<Frame> {
    let mut columns = 2_u16.to_be_bytes().to_vec();
    for (name, kind) in [("id", 23_u32), ("label", 25)] {
        columns.extend(name.as_bytes());
        columns.extend([0, 0, 0, 0, 7, 0, 1]);
        columns.extend(kind.to_be_bytes());
        columns.extend([0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
    let mut frames = begun();
    frames.push((b'T', columns));
    frames.extend([row(&[Some(b"1"), Some(b"one")]), row(&[Some(b"2"), None]), (b'C', b"SELECT 2\0".to_vec())]);
    frames.extend([(b'1', Vec::new()), (b'2', Vec::new()), (b'C', b"ROLLBACK\0".to_vec()), (b'Z', b"I".to_vec())]);
    frames
}

fn failing() -> Vec<Frame> {
    let mut frames = begun();
    frames.extend([(b'E', b"SERROR\0C22012\0Mdivision by zero\0P8\0\0".to_vec()), (b'Z', b"E".to_vec())]);
    frames.extend([(b'1', Vec::new()), (b'2', Vec::new()), (b'C', b"ROLLBACK\0".to_vec()), (b'Z', b"I".to_vec())]);
    frames
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|(tag, body)| frame(*tag, body)).collect()
}

/// Frames left out, doubled, exchanged, put in between, changed inside; then bytes. One of `rarely` times at all.
fn mutated(mutator: &mut Mutator, mut frames: Vec<Frame>, rarely: usize) -> Vec<u8> {
    let often = if mutator.below(rarely) == 0 { mutator.below(4) } else { 0 };
    for _ in 0..often {
        let (at, other) = (mutator.below(frames.len()), mutator.below(frames.len()));
        match mutator.below(6) {
            0 if frames.len() > 1 => {
                frames.remove(at);
            }
            1 => frames.insert(at, frames[other].clone()),
            2 => frames.swap(at, other),
            3 => frames[at].1 = mutator.bytes(&frames[at].1),
            4 => frames[at].0 = *mutator.pick(b"12ACDEGHIKNRSTVWZdnst3v\0"),
            _ => {
                let between: [Frame; 5] = [
                    (b'N', b"SNOTICE\0Mhello\0\0".to_vec()),
                    (b'A', b"\0\0\0\x01channel\0payload\0".to_vec()),
                    (b'E', b"SFATAL\0C57P01\0Mbye\0\0".to_vec()),
                    (b's', Vec::new()),
                    (b'I', Vec::new()),
                ];
                frames.insert(at, mutator.pick(&between).clone());
            }
        }
    }
    let bytes = bytes(&frames);
    if often > 0 && mutator.below(3) == 0 { mutator.bytes(&bytes) } else { bytes }
}

/// Whether the first answers confirm BEGIN; notices and the like do not count.
fn begins(mut bytes: &[u8]) -> bool {
    let mut wanted = vec![(b'1', &b""[..]), (b'2', b""), (b'C', b"BEGIN\0")].into_iter().peekable();
    while let Some((tag, body)) = wanted.peek() {
        let Some((head, rest)) = bytes.split_at_checked(5) else { return false };
        let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).unwrap();
        let Some((found, rest)) = length.checked_sub(4).and_then(|length| rest.split_at_checked(length)) else { return false };
        bytes = rest;
        if b"NSA".contains(&head[0]) {
            continue;
        }
        if head[0] != *tag || (*tag == b'C' && found != *body) {
            return false;
        }
        wanted.next();
    }
    true
}

//! A program that writes MJPEG to its standard output as a camera: `rpicam-vid`, `ffmpeg`, `curl`, anything.
//!
//! The program runs in a process group of its own, which is killed with the camera. One thread takes its output apart
//! and keeps the newest picture, another one logs what it says on its standard error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::latest::{Latest, Stop};
use super::mjpeg::{CHUNK, MAX_JUNK_BYTES, Piece, Splitter};
use super::spec::CameraSpec;
use super::{Camera, CameraError, Fault};
use crate::clock::Clock;
use crate::frame::{Frame, MAX_FRAME_PIXELS, decode_jpeg};

/// How long a program that closed its output may take to exit, and one that was killed to be gone.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// How long the last words of a program are waited for once it is gone.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(300);

/// Lines of standard error kept for the error message, and characters of each.
const KEPT_LINES: usize = 5;
const KEPT_CHARS: usize = 200;

/// A running program that writes MJPEG.
pub struct CommandCamera {
    name: String,
    child: Child,
    reaped: bool,
    latest: Arc<Latest>,
    said: Arc<Said>,
}

impl CommandCamera {
    /// Starts the program; `words` are its name and its arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn open(words: &[String], clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let name = CameraSpec::Command(words.to_vec()).to_string();
        Self::start(words, clock, &name).map_err(|fault| fault.of(&name))
    }

    fn start(words: &[String], clock: Arc<dyn Clock>, name: &str) -> Result<Self, Fault> {
        let (program, arguments) = words.split_first().ok_or(Fault::new("there is no program to run"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| not_started(program, source))?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        // From here on dropping the camera ends the program.
        let camera = Self {
            name: name.to_owned(),
            child,
            reaped: false,
            latest: Arc::default(),
            said: Arc::default(),
        };
        let (stdout, stderr) = pipes.expect("both pipes were asked for");
        let latest = Arc::clone(&camera.latest);
        spawn("camera-read", move || read_pictures(stdout, &latest, &*clock))?;
        let (said, program) = (Arc::clone(&camera.said), program.clone());
        spawn("camera-log", move || said.listen(stderr, &program))?;
        Ok(camera)
    }

    /// What to say of a program that gives no more pictures.
    fn post_mortem(&mut self, why: &str) -> Fault {
        let exited = poll(EXIT_WAIT, || has_exited(&self.child).then_some(()));
        let status = self.kill();
        let how = match (exited, status) {
            (Some(()), Some(status)) => format!("it ended ({status})"),
            _ => "it went on running and was killed".to_owned(),
        };
        let count = self.latest.delivered();
        let words = self.said.last_words();
        let words = if words.is_empty() { "it said nothing".to_owned() } else { format!("it said: {words}") };
        Fault::new(format!("{why} after {count} pictures; {how}; {words}"))
    }

    /// Kills the program and whatever it started, and takes its exit status. The group goes first: once the program
    /// is reaped its number may be another's.
    fn kill(&mut self) -> Option<ExitStatus> {
        if self.reaped {
            return None;
        }
        if let Some(group) = pid(&self.child) {
            // Fails only when all of them are gone.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let status = poll(EXIT_WAIT, || self.child.try_wait().ok().flatten());
        self.reaped = status.is_some();
        if !self.reaped {
            log::warn!("{}: the program does not die; the camera's driver may hang", self.name);
        }
        status
    }
}

impl Camera for CommandCamera {
    fn next(&mut self) -> Result<Frame, CameraError> {
        let decode = |bytes: &[u8]| decode_jpeg(bytes, MAX_FRAME_PIXELS);
        self.latest.next_frame(decode).map_err(|stop| {
            let fault = match stop {
                Stop::Failed(fault) => fault,
                Stop::Over(why) if self.reaped => Fault::new(why),
                Stop::Over(why) => self.post_mortem(&why),
            };
            fault.of(&self.name)
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl Drop for CommandCamera {
    fn drop(&mut self) {
        self.latest.abandon();
        self.kill();
    }
}

fn not_started(program: &str, source: std::io::Error) -> Fault {
    let hint = match source.kind() {
        ErrorKind::NotFound => "there is no such program; install it or give its full path",
        ErrorKind::PermissionDenied => "it may not be executed; check its permissions",
        _ => "it could not be started",
    };
    Fault::with(format!("{program}: {hint}"), source)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|source| Fault::with("no thread could be started to read it", source))
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Whether the program has exited; its status is left for [`Child::try_wait`].
fn has_exited(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    pid(child).is_none_or(|pid| !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None)))
}

/// Asks until there is an answer or `patience` is spent.
fn poll<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(PAUSE);
    }
    ask()
}

/// Takes the program's output apart until it ends or nobody wants it.
fn read_pictures(mut stdout: ChildStdout, latest: &Latest, clock: &dyn Clock) {
    let _closing = latest.closed_with_thread();
    let mut splitter = Splitter::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match stdout.read(&mut chunk) {
            Ok(0) => return latest.end("its output ended".to_owned()),
            Ok(count) => splitter.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return latest.end(format!("its output could not be read ({error})")),
        }
        let now = clock.now();
        while let Some(piece) = splitter.next_piece() {
            match piece {
                Piece::Picture { bytes, .. } => {
                    if !latest.put(now, bytes) {
                        return;
                    }
                }
                Piece::Broken { why, .. } => latest.spoil(why),
                Piece::Junk { .. } => {
                    let what = format!(
                        "it wrote {} KiB without a JPEG picture; it must write MJPEG (rpicam-vid --codec mjpeg -o -, \
                         ffmpeg … -c:v mjpeg -f mjpeg -)",
                        MAX_JUNK_BYTES >> 10
                    );
                    return latest.end(what);
                }
            }
        }
    }
}

/// What the program says on its standard error.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<Words>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Words {
    lines: VecDeque<String>,
    closed: bool,
}

impl Said {
    /// Logs it line by line and keeps the last ones.
    fn listen(&self, stderr: ChildStderr, program: &str) {
        let mut input = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without end is taken in pieces.
            match input.by_ref().take(4096).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            // Progress displays overwrite their line: the last state counts.
            let text = String::from_utf8_lossy(&line);
            let text = text.split('\r').map(str::trim).rfind(|text| !text.is_empty());
            if let Some(text) = text {
                let text: String = text.chars().filter(|c| !c.is_control()).collect();
                log::debug!("{program}: {text}");
                self.keep(text.chars().take(KEPT_CHARS).collect());
            }
        }
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn keep(&self, line: String) {
        let mut words = self.lock();
        if words.lines.len() == KEPT_LINES {
            words.lines.pop_front();
        }
        words.lines.push_back(line);
    }

    /// The last lines, once no more can come.
    fn last_words(&self) -> String {
        let words = self.lock();
        let (words, _) = self
            .changed
            .wait_timeout_while(words, LAST_WORDS_WAIT, |words| !words.closed)
            .unwrap_or_else(PoisonError::into_inner);
        words.lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }

    fn lock(&self) -> MutexGuard<'_, Words> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

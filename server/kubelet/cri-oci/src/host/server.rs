//! The host's one loop: every descriptor that becomes ready is one [`Source`], every source has one handler.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{SockFlag, accept4};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::child::{self, Join, Status, Stdio};
use super::epoll::{self, Epoll};
use super::log::{Lines, LogFile, Stream, stamp};
use super::output::Reader;
use super::protocol::{self, Answer, Ended, Item, Reply, Request, StartContainer, Verb};

/// What a ready descriptor means.
#[derive(Clone, Debug)]
enum Source {
    Listener,
    Signals,
    Daemon(u64),
    Status(u64),
    Output(String, Stream),
    Behind(String, Stream),
}

/// A main process and what belongs to it.
struct Container {
    start: StartContainer,
    pid: i32,
    started_at: Timestamp,
    ended: Option<Ended>,
    log: LogFile,
    outputs: Vec<Output>,
    stdin: Option<OwnedFd>,
    /// Known to have ended, with output still to be read.
    draining: Option<i32>,
}

struct Output {
    stream: Stream,
    fd: OwnedFd,
    token: u64,
    lines: Lines,
    readers: Vec<Reader>,
    behind: Option<u64>,
}

/// Something forked that has not yet said whether it runs.
struct Birth {
    socket: OwnedFd,
    daemon: u64,
    call: u64,
    kind: BirthKind,
    pid: Option<i32>,
    master: Option<OwnedFd>,
    failed: Option<(String, i32)>,
    notes: Vec<String>,
}

enum BirthKind {
    Container(Box<Container>),
    Exec(u64),
    Init(String),
}

struct Host {
    epoll: Epoll,
    listener: OwnedFd,
    signals: OwnedFd,
    path: PathBuf,
    sources: HashMap<u64, Source>,
    next: u64,
    daemons: HashMap<u64, OwnedFd>,
    births: HashMap<u64, Birth>,
    containers: HashMap<String, Container>,
    execs: HashMap<i32, u64>,
    inits: HashMap<String, i32>,
    /// Ends of processes whose birth has not been reported yet.
    early: HashMap<i32, i32>,
    buffer: Vec<u8>,
    leaving: bool,
}

/// Serves until told to shut down.
pub fn run(listener: OwnedFd, path: PathBuf) -> io::Result<()> {
    let mut host = Host {
        epoll: Epoll::new()?,
        signals: epoll::child_signals()?,
        listener,
        path,
        sources: HashMap::new(),
        next: 1,
        daemons: HashMap::new(),
        births: HashMap::new(),
        containers: HashMap::new(),
        execs: HashMap::new(),
        inits: HashMap::new(),
        early: HashMap::new(),
        buffer: vec![0; 64 * 1024],
        leaving: false,
    };
    host.watch(host.listener.as_raw_fd(), Source::Listener, false);
    host.watch(host.signals.as_raw_fd(), Source::Signals, false);
    while !host.leaving {
        for token in host.epoll.wait()? {
            if let Some(source) = host.sources.get(&token).cloned() {
                host.handle(token, source);
            }
        }
    }
    let _ = std::fs::remove_file(&host.path);
    Ok(())
}

impl Host {
    fn watch(&mut self, fd: RawFd, source: Source, write: bool) -> u64 {
        let token = self.next;
        self.next += 1;
        if self.epoll.add(fd, token, write).is_ok() {
            self.sources.insert(token, source);
        }
        token
    }

    fn unwatch(&mut self, fd: RawFd, token: u64) {
        self.epoll.remove(fd);
        self.sources.remove(&token);
    }

    fn handle(&mut self, token: u64, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.reap(),
            Source::Daemon(daemon) => self.listen(daemon, token),
            Source::Status(birth) => self.status(birth, token),
            Source::Output(id, stream) => self.output(&id, stream),
            Source::Behind(id, stream) => self.catch_up(&id, stream),
        }
    }

    fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        while let Ok(fd) = accept4(self.listener.as_raw_fd(), flags) {
            use std::os::fd::FromRawFd;
            let daemon = self.watch(fd, Source::Listener, false);
            self.sources.insert(daemon, Source::Daemon(daemon));
            // SAFETY: accept made it for us
            self.daemons.insert(daemon, unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    fn listen(&mut self, daemon: u64, token: u64) {
        let Some(fd) = self.daemons.get(&daemon).map(AsRawFd::as_raw_fd) else { return };
        loop {
            match protocol::receive::<Request>(fd) {
                Ok(Some((request, fds))) => self.request(daemon, request, fds),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EBADMSG) => {}
                Ok(None) | Err(_) => {
                    self.unwatch(fd, token);
                    self.daemons.remove(&daemon);
                    return;
                }
            }
        }
    }

    /// Packets are small and a daemon reads them eagerly; one that does not has stopped, and its successor
    /// learns all by `List`.
    fn say(&mut self, daemon: u64, call: u64, reply: Reply, fds: &[RawFd]) {
        if let Some(socket) = self.daemons.get(&daemon) {
            let answer = Answer { call, reply };
            while let Err(Errno::EAGAIN) = protocol::send(socket.as_raw_fd(), &answer, fds) {
                if !wait_writable(socket.as_raw_fd()) {
                    break;
                }
            }
        }
    }

    fn tell_all(&mut self, reply: impl Fn() -> Reply) {
        let daemons: Vec<u64> = self.daemons.keys().copied().collect();
        for daemon in daemons {
            self.say(daemon, 0, reply(), &[]);
        }
    }

    fn request(&mut self, daemon: u64, request: Request, fds: Vec<OwnedFd>) {
        let call = request.call;
        match request.verb {
            Verb::Start(start) => self.start(daemon, call, *start),
            Verb::Exec { id, exec, command, tty } => self.exec(daemon, call, &id, exec, &command, tty, &fds),
            Verb::StartInit { sandbox, namespaces, cgroup_procs } => {
                let forked = child::spawn(|status| child::shared_init(&namespaces, &cgroup_procs, status));
                self.born(daemon, call, forked, BirthKind::Init(sandbox));
            }
            Verb::Attach { id, stdin, stdout, stderr } => {
                self.attach(daemon, call, &id, [stdin, stdout, stderr], fds)
            }
            Verb::List => {
                for item in self.containers.values().map(item).collect::<Vec<_>>() {
                    self.say(daemon, call, Reply::Item(item), &[]);
                }
                self.say(daemon, call, Reply::Done, &[]);
            }
            Verb::Shutdown => {
                self.kill_all();
                self.say(daemon, call, Reply::Done, &[]);
                self.leaving = true;
            }
            verb => {
                let reply = self.simple(verb);
                self.say(daemon, call, reply, &[]);
            }
        }
    }

    fn simple(&mut self, verb: Verb) -> Reply {
        match verb {
            Verb::Hello => Reply::Hello { version: protocol::VERSION, pid: std::process::id() as i32 },
            Verb::Kill { id, signal } => match self.containers.get(&id) {
                Some(container) if container.ended.is_none() && container.draining.is_none() => {
                    send_signal(container.pid, signal, false)
                }
                Some(_) => Reply::Done,
                None => Reply::Unknown,
            },
            Verb::KillExec { exec, signal } => {
                match self.execs.iter().find(|(_, name)| **name == exec).map(|(pid, _)| *pid) {
                    Some(pid) => send_signal(pid, signal, true),
                    None => Reply::Done,
                }
            }
            Verb::ReopenLog { id } => match self.containers.get_mut(&id) {
                Some(container) => {
                    container.log.reopen();
                    Reply::Done
                }
                None => Reply::Unknown,
            },
            Verb::StopInit { sandbox } => {
                if let Some(pid) = self.inits.remove(&sandbox) {
                    send_signal(pid, libc::SIGKILL, false);
                }
                Reply::Done
            }
            Verb::Forget { id } => {
                if self.containers.get(&id).is_some_and(|container| container.ended.is_some()) {
                    self.containers.remove(&id);
                }
                Reply::Done
            }
            _ => Reply::Unknown,
        }
    }

    fn kill_all(&mut self) {
        for container in self.containers.values().filter(|container| container.ended.is_none()) {
            send_signal(container.pid, libc::SIGKILL, false);
        }
        for pid in self.inits.values() {
            send_signal(*pid, libc::SIGKILL, false);
        }
    }

    fn start(&mut self, daemon: u64, call: u64, start: StartContainer) {
        match prepare(start) {
            Ok((container, stdio, theirs)) => {
                let forked = child::spawn(|status| child::start(&container.start, stdio, status));
                drop(theirs);
                self.born(daemon, call, forked, BirthKind::Container(Box::new(container)));
            }
            Err(error) => self.fail(daemon, call, error.to_string()),
        }
    }

    fn fail(&mut self, daemon: u64, call: u64, message: String) {
        self.say(daemon, call, Reply::Failed { message, exit_code: 128 }, &[]);
    }

    fn born(&mut self, daemon: u64, call: u64, forked: nix::Result<(Pid, OwnedFd)>, kind: BirthKind) {
        match forked {
            Ok((_, socket)) => {
                let fd = socket.as_raw_fd();
                epoll::nonblocking(fd);
                let token = self.watch(fd, Source::Listener, false);
                self.sources.insert(token, Source::Status(token));
                let birth = Birth {
                    socket,
                    daemon,
                    call,
                    kind,
                    pid: None,
                    master: None,
                    failed: None,
                    notes: Vec::new(),
                };
                self.births.insert(token, birth);
            }
            Err(error) => self.fail(daemon, call, format!("fork: {error}")),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn exec(
        &mut self,
        daemon: u64,
        call: u64,
        id: &str,
        exec: u64,
        command: &[String],
        tty: bool,
        fds: &[OwnedFd],
    ) {
        let Some(container) = self.containers.get(id).filter(|container| container.ended.is_none()) else {
            return self.say(daemon, call, Reply::Unknown, &[]);
        };
        let stdio = match (tty, fds) {
            (true, _) => None,
            (false, [a, b, c, ..]) => Some(Stdio([a.as_raw_fd(), b.as_raw_fd(), c.as_raw_fd()])),
            _ => return self.fail(daemon, call, "exec without streams".into()),
        };
        let join = Join {
            pid: container.pid,
            bundle: &container.start.bundle,
            cgroup_procs: &container.start.cgroup_procs,
            command,
            stdio,
        };
        let forked = child::spawn(|status| child::exec(&join, status));
        self.born(daemon, call, forked, BirthKind::Exec(exec));
    }

    /// A child said something, or all ends of its status socket closed: it has exec'd or is gone.
    fn status(&mut self, token: u64, source: u64) {
        loop {
            let Some(birth) = self.births.get_mut(&token) else { return };
            match protocol::receive::<Status>(birth.socket.as_raw_fd()) {
                Ok(Some((Status::Pid(pid), _))) => birth.pid = Some(pid),
                Ok(Some((Status::Terminal, fds))) => birth.master = fds.into_iter().next(),
                Ok(Some((Status::Failed { message, exit_code }, _))) => {
                    birth.failed.get_or_insert((message, exit_code));
                }
                Ok(Some((Status::Note(note), _))) if birth.notes.len() < 8 => birth.notes.push(note),
                Ok(Some((Status::Note(_), _))) => {}
                Err(Errno::EAGAIN) => return,
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(birth) = self.births.remove(&token) {
            self.unwatch(birth.socket.as_raw_fd(), source);
            self.settled(birth);
        }
        if self.births.is_empty() {
            self.early.clear();
        }
    }

    fn settled(&mut self, birth: Birth) {
        let Birth { daemon, call, kind, pid, master, failed, notes, .. } = birth;
        let failed = match (pid, failed) {
            // the first note is the deepest cause
            (_, Some((message, 128))) if !notes.is_empty() => Some((format!("{message}: {}", notes[0]), 128)),
            (_, Some(failed)) => Some(failed),
            (None, None) => Some(("container process ended before it started".into(), 128)),
            (Some(_), None) => None,
        };
        if let Some((message, exit_code)) = failed {
            return self.say(daemon, call, Reply::Failed { message, exit_code }, &[]);
        }
        let pid = pid.unwrap_or_default();
        let at = Timestamp::now();
        match kind {
            BirthKind::Container(container) => {
                let id = container.start.id.clone();
                self.adopt(*container, pid, at, master);
                self.say(daemon, call, Reply::Started { pid, at }, &[]);
                if let Some(code) = self.early.remove(&pid) {
                    self.ended(&id, code);
                }
            }
            BirthKind::Exec(exec) => {
                let fds: Vec<RawFd> = master.iter().map(AsRawFd::as_raw_fd).collect();
                self.say(daemon, call, Reply::Started { pid, at }, &fds);
                match self.early.remove(&pid) {
                    Some(code) => self.tell_all(|| Reply::ExecExited { exec, code }),
                    None => drop(self.execs.insert(pid, exec)),
                }
            }
            BirthKind::Init(sandbox) => {
                self.inits.insert(sandbox, pid);
                self.say(daemon, call, Reply::Started { pid, at }, &[]);
            }
        }
    }

    fn adopt(&mut self, mut container: Container, pid: i32, at: Timestamp, master: Option<OwnedFd>) {
        container.pid = pid;
        container.started_at = at;
        let id = container.start.id.clone();
        if let Some(master) = master {
            epoll::nonblocking(master.as_raw_fd());
            if container.start.stdin {
                container.stdin = master.try_clone().ok();
            }
            container.outputs.push(Output::new(Stream::Stdout, master));
        }
        for index in 0..container.outputs.len() {
            let (fd, stream) = (container.outputs[index].fd.as_raw_fd(), container.outputs[index].stream);
            container.outputs[index].token = self.watch(fd, Source::Output(id.clone(), stream), false);
        }
        self.containers.insert(id, container);
    }

    fn reap(&mut self) {
        let mut signal = [0u8; 128];
        while epoll::read(self.signals.as_raw_fd(), &mut signal).is_some_and(|count| count > 0) {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.process_ended(pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.process_ended(pid.as_raw(), 128 + signal as i32)
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn process_ended(&mut self, pid: i32, code: i32) {
        if let Some(exec) = self.execs.remove(&pid) {
            return self.tell_all(|| Reply::ExecExited { exec, code });
        }
        let running = |container: &&Container| container.pid == pid && container.ended.is_none();
        let found = self.containers.values().find(running).map(|container| container.start.id.clone());
        match found {
            Some(id) => self.ended(&id, code),
            None if !self.births.is_empty() => drop(self.early.insert(pid, code)),
            None => {}
        }
    }

    /// Reads what the pipes still hold, then tells everyone. All of a PID namespace is dead by the time its
    /// first process is reaped, so nothing more comes after this.
    fn ended(&mut self, id: &str, code: i32) {
        if let Some(container) = self.containers.get_mut(id) {
            container.draining = Some(code);
        }
        self.output(id, Stream::Stdout);
        self.output(id, Stream::Stderr);
        let Some(container) = self.containers.get_mut(id) else { return };
        let oom_killed = container.start.oom_file.as_deref().is_some_and(oom_killed);
        let ended = Ended { code, oom_killed, at: Timestamp::now() };
        container.ended = Some(ended.clone());
        container.stdin = None;
        let outputs = std::mem::take(&mut container.outputs);
        let _ = crate::files::write_json(&container.start.exit_path, &ended);
        for output in outputs {
            self.close_output(id, output);
        }
        self.tell_all(|| Reply::Exited { id: id.to_owned(), ended: ended.clone() });
    }

    fn close_output(&mut self, id: &str, mut output: Output) {
        self.unwatch(output.fd.as_raw_fd(), output.token);
        if let (Some(token), Some(reader)) = (output.behind, output.readers.first()) {
            self.unwatch(reader.fd(), token);
        }
        let mut out = Vec::new();
        output.lines.finish(output.stream, &stamp(Timestamp::now()), &mut out);
        if let Some(container) = self.containers.get_mut(id) {
            container.log.write(&out);
        }
        // the last words of a container reach readers that wait for them, if they take them at all
        for reader in output.readers.iter_mut().filter(|reader| reader.is_behind()) {
            reader.flush();
        }
    }

    fn output(&mut self, id: &str, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let draining = container.draining.is_some();
        let Some(index) = container.outputs.iter().position(|output| output.stream == stream) else { return };
        let mut out = Vec::new();
        loop {
            let output = &mut container.outputs[index];
            match epoll::read(output.fd.as_raw_fd(), &mut self.buffer) {
                None => break,
                Some(0) => {
                    container.log.write(&out);
                    let output = container.outputs.remove(index);
                    return self.close_output(id, output);
                }
                Some(count) => {
                    let data = &self.buffer[..count];
                    output.lines.push(stream, &stamp(Timestamp::now()), data, &mut out);
                    output.readers.retain_mut(|reader| reader.push(data));
                }
            }
            container.log.write(&out);
            out.clear();
            if !draining {
                // one read per turn: a chatty container does not starve the others
                break;
            }
        }
        self.wait_for_slow(id, stream);
    }

    /// Waits for the first reader that is behind; readers behind it are served in the same turn.
    fn wait_for_slow(&mut self, id: &str, stream: Stream) {
        let Some(output) = self.find_output(id, stream) else { return };
        if output.behind.is_some() {
            return;
        }
        let Some(fd) = output.readers.iter().find(|reader| reader.is_behind()).map(Reader::fd) else {
            return;
        };
        let token = self.watch(fd, Source::Behind(id.to_owned(), stream), true);
        if let Some(output) = self.find_output(id, stream) {
            output.behind = Some(token);
        }
    }

    fn catch_up(&mut self, id: &str, stream: Stream) {
        let Some(output) = self.find_output(id, stream) else { return };
        let token = output.behind.take();
        let fds: Vec<RawFd> = output.readers.iter().map(Reader::fd).collect();
        output.readers.retain_mut(|reader| !reader.is_behind() || reader.flush());
        if let Some(token) = token {
            self.sources.remove(&token);
            for fd in fds {
                self.epoll.remove(fd);
            }
        }
        self.wait_for_slow(id, stream);
    }

    fn find_output(&mut self, id: &str, stream: Stream) -> Option<&mut Output> {
        self.containers.get_mut(id)?.outputs.iter_mut().find(|output| output.stream == stream)
    }

    fn attach(&mut self, daemon: u64, call: u64, id: &str, wants: [bool; 3], fds: Vec<OwnedFd>) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.ended.is_none())
        else {
            return self.say(daemon, call, Reply::Unknown, &[]);
        };
        let mut fds = fds.into_iter();
        for (wanted, stream) in [(wants[1], Stream::Stdout), (wants[2], Stream::Stderr)] {
            let Some(fd) = wanted.then(|| fds.next()).flatten() else { continue };
            if let Some(output) = container.outputs.iter_mut().find(|output| output.stream == stream) {
                output.readers.push(Reader::new(fd));
            }
        }
        let once = container.start.stdin_once;
        let stdin = match &container.stdin {
            Some(fd) if wants[0] => fd.try_clone().ok(),
            _ => None,
        };
        if stdin.is_some() && once {
            // the caller's copy is now the only one: closing it is end-of-file
            container.stdin = None;
        }
        // a terminal's master goes along for its size, also to those who do not write
        let terminal = container.start.tty.then(|| container.outputs.first()).flatten();
        let terminal = terminal.and_then(|output| output.fd.try_clone().ok());
        let (pid, at) = (container.pid, container.started_at);
        let fds: Vec<OwnedFd> = stdin.or(terminal).into_iter().collect();
        self.say(daemon, call, Reply::Started { pid, at }, &protocol::raw(&fds));
    }
}

impl Output {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Output { stream, fd, token: 0, lines: Lines::default(), readers: Vec::new(), behind: None }
    }
}

fn item(container: &Container) -> Item {
    Item {
        id: container.start.id.clone(),
        pid: container.pid,
        started_at: container.started_at,
        ended: container.ended.clone(),
    }
}

fn send_signal(pid: i32, signal: i32, session: bool) -> Reply {
    let Ok(signal) = Signal::try_from(signal) else {
        // real-time signals
        // SAFETY: kill takes numbers
        unsafe { libc::kill(pid, signal) };
        return Reply::Done;
    };
    if session {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
    let _ = kill(Pid::from_raw(pid), signal);
    Reply::Done
}

fn wait_writable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, as said
    unsafe { libc::poll(&mut poll, 1, 1000) == 1 && poll.revents & libc::POLLOUT != 0 }
}

fn oom_killed(file: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    crate::cgroup::oom_kills(&text) > 0
}

/// Opens log and pipes. The third part are the container's ends, to be closed once it is forked.
fn prepare(start: StartContainer) -> nix::Result<(Container, Stdio, Vec<OwnedFd>)> {
    let mut container = Container {
        log: LogFile::open(&start.log_path),
        pid: 0,
        started_at: Timestamp::UNIX_EPOCH,
        ended: None,
        outputs: Vec::new(),
        stdin: None,
        draining: None,
        start,
    };
    if container.start.tty {
        return Ok((container, Stdio([0; 3]), Vec::new()));
    }
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
    let mut theirs = Vec::new();
    let stdin = if container.start.stdin {
        let (read, write) = pipe()?;
        container.stdin = Some(write);
        let fd = read.as_raw_fd();
        theirs.push(read);
        fd
    } else {
        // the host's own standard input is /dev/null
        0
    };
    let mut stdio = [stdin, 0, 0];
    for (slot, stream) in [(1, Stream::Stdout), (2, Stream::Stderr)] {
        let (read, write) = pipe()?;
        epoll::nonblocking(read.as_raw_fd());
        container.outputs.push(Output::new(stream, read));
        stdio[slot] = write.as_raw_fd();
        theirs.push(write);
    }
    Ok((container, Stdio(stdio), theirs))
}

// SPDX-License-Identifier: Apache-2.0
//! A connection to systemd by the system bus or a user's: one socket, one call at a time, no
//! thread. A bus that does not answer is given up at a deadline.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::message::{self, Call, FIXED, Kind, Message};
use crate::error::Fault;
use crate::plan::systemd::value::Value;

/// systemd's name on a bus, and its manager's path and interface.
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The bus's own.
const BUS: &str = "org.freedesktop.DBus";

/// A loaded machine may take long, but not for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authenticated connection.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// JobRemoved signals that came before anybody waited for them.
    removed: Vec<Vec<Value>>,
    deadline: Instant,
    patience: Duration,
}

/// Why a call failed.
pub enum Refusal {
    /// systemd's answer: the error's name and text.
    Said(String, String),
    /// The connection is no good.
    Broken(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

impl Refusal {
    /// Whether systemd gave this name, without `org.freedesktop.systemd1.` before it.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Self::Said(said, _) if said.rsplit('.').next() == Some(name))
    }

    /// As an error of the step `what`.
    pub fn fault(self, what: &str) -> Fault {
        match self {
            Self::Broken(fault) => fault,
            Self::Said(name, text) => {
                let short = name.rsplit('.').next().unwrap_or_default().to_owned();
                let fault = Fault::new(format!("{what}: systemd says: {text} ({short})"));
                match short.as_str() {
                    "AccessDenied" | "InteractiveAuthorizationRequired" => fault.hint(
                        "only root may use the system's systemd; as an ordinary user set XDG_RUNTIME_DIR to use one's own",
                    ),
                    _ => fault,
                }
            }
        }
    }
}

impl Bus {
    /// Connects to the system's bus, or to the one of the user's session.
    pub fn connect(user: bool) -> Result<Self, Fault> {
        let (address, says) = address(user)?;
        let hint = match user {
            true => {
                "the systemd driver needs the user's systemd: log in by a session (or `loginctl enable-linger`), \
                     set XDG_RUNTIME_DIR; or leave --systemd-cgroup out"
            }
            false => "the systemd driver needs a running systemd and D-Bus; or leave --systemd-cgroup out",
        };
        let fault = |error: io::Error| io_fault(format!("connect({says:?})"), &error).hint(hint);
        let stream = UnixStream::connect_addr(&address).map_err(fault)?;
        Self::over(stream, PATIENCE)
    }

    /// Begins to talk; no single answer may take longer than `patience`.
    fn over(stream: UnixStream, patience: Duration) -> Result<Self, Fault> {
        let wait = Some(patience);
        let limited = stream.set_read_timeout(wait).and_then(|()| stream.set_write_timeout(wait));
        limited.map_err(|e| broken(&e))?;
        let deadline = Instant::now() + patience;
        let mut bus = Self { stream, serial: 0, removed: Vec::new(), deadline, patience };
        bus.authenticate().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Fault::new("the bus does not let this user in").hint("see `busctl status`, as the same user")
            }
            _ => broken(&error),
        })?;
        bus.call_bus("Hello", &[]).map_err(|refusal| refusal.fault("Hello"))?;
        Ok(bus)
    }

    /// From now on the ends of jobs are told.
    pub fn watch_jobs(&mut self) -> Result<(), Refusal> {
        let rule = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
        self.call_bus("AddMatch", &[Value::Str(rule)]).map(drop)
    }

    /// Calls a method of systemd's manager.
    pub fn manager(&mut self, member: &str, body: &[Value]) -> Result<Vec<Value>, Refusal> {
        self.call(&Call { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member, body })
    }

    /// A property of one of systemd's objects.
    pub fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<Value, Refusal> {
        let body = [Value::str(interface), Value::str(name)];
        let interface = "org.freedesktop.DBus.Properties";
        let reply = self.call(&Call { destination: SYSTEMD, path, interface, member: "Get", body: &body })?;
        match reply.into_iter().next() {
            Some(Value::Variant(value)) => Ok(*value),
            _ => Err(odd("Get").into()),
        }
    }

    /// Waits until the job is done, and tells how it ended: `done`, `failed`, `timeout`, …
    pub fn await_job(&mut self, job: &Value) -> Result<String, Fault> {
        // u: id, o: job, s: unit, s: result
        let ours = |body: &[Value]| match body {
            [_, path, _, Value::Str(result)] if path == job => Some(result.clone()),
            _ => None,
        };
        loop {
            if let Some(result) = self.removed.drain(..).find_map(|body| ours(&body)) {
                return Ok(result);
            }
            self.receive()?;
        }
    }

    fn call_bus(&mut self, member: &str, body: &[Value]) -> Result<Vec<Value>, Refusal> {
        self.call(&Call { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member, body })
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        self.serial += 1;
        self.deadline = Instant::now() + self.patience;
        let bytes = call.encode(self.serial);
        tracing::debug!("bus: {} {:?}", call.member, call.body);
        self.stream.write_all(&bytes).map_err(|e| broken(&e))?;
        loop {
            let Some(message) = self.receive()? else { continue };
            if message.reply_to != self.serial {
                continue;
            }
            return match message.kind {
                Kind::Error => {
                    let text = match message.body.into_iter().next() {
                        Some(Value::Str(text)) => text,
                        _ => String::new(),
                    };
                    Err(Refusal::Said(message.error, text))
                }
                _ => Ok(message.body),
            };
        }
    }

    /// The next message, unless it is a signal, which is kept.
    fn receive(&mut self) -> Result<Option<Message>, Fault> {
        let mut bytes = vec![0u8; FIXED];
        self.read(&mut bytes).map_err(|e| broken(&e))?;
        let fixed: [u8; FIXED] = bytes[..].try_into().map_err(|_| odd("a message"))?;
        let length = message::length(&fixed).ok_or_else(|| odd("a message"))?;
        bytes.resize(length, 0);
        self.read(&mut bytes[FIXED..]).map_err(|e| broken(&e))?;
        let message = message::decode(&bytes).ok_or_else(|| odd("a message"))?;
        if message.kind == Kind::Signal {
            if message.member == "JobRemoved" {
                self.removed.push(message.body);
            }
            return Ok(None);
        }
        Ok(Some(message))
    }

    fn read(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.read_some(bytes)?;
            bytes = &mut bytes[n..];
        }
        Ok(())
    }

    fn read_some(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            // A read ends after the same time, so this is one that gets only what nobody asked for.
            if Instant::now() > self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.stream.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// By the socket's credentials, without naming a user: in a user namespace our number for
    /// ourselves is not the one that the bus sees.
    fn authenticate(&mut self) -> io::Result<()> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // An empty challenge, and then the bus's own number; it says no more until we do.
        let mut answer = Vec::new();
        while answer.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let mut buffer = [0u8; 256];
            let n = self.read_some(&mut buffer)?;
            answer.extend_from_slice(&buffer[..n]);
            if answer.starts_with(b"REJECTED") || answer.len() > buffer.len() {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        let text = String::from_utf8_lossy(&answer);
        match text.starts_with("DATA") && text.contains("\r\nOK ") {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// The socket's address, and what messages call it.
fn address(user: bool) -> Result<(SocketAddr, String), Fault> {
    let (variable, path) = match user {
        false => ("DBUS_SYSTEM_BUS_ADDRESS", OsString::from("/run/dbus/system_bus_socket")),
        true => {
            let dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
            let dir =
                dir.unwrap_or_else(|| format!("/run/user/{}", rustix::process::getuid().as_raw()).into());
            let mut path = dir;
            path.push("/bus");
            ("DBUS_SESSION_BUS_ADDRESS", path)
        }
    };
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let socket = match &given {
        None => Some((path, false)),
        Some(text) => text.split(';').find_map(parse),
    };
    let says = given.unwrap_or_default();
    let Some((name, is_abstract)) = socket else {
        return Err(Fault::new(format!("{variable}={says:?} names no Unix socket"))
            .hint("as in unix:path=/run/user/1000/bus"));
    };
    let address = match is_abstract {
        true => SocketAddr::from_abstract_name(name.as_encoded_bytes()),
        false => SocketAddr::from_pathname(&name),
    };
    let says = name.to_string_lossy().into_owned();
    Ok((address.map_err(|e| io_fault(format!("connect({says:?})"), &e))?, says))
}

/// `unix:path=/run/user/1000/bus` or `unix:abstract=NAME`, with `%xx` for odd bytes; whether it is
/// abstract.
fn parse(text: &str) -> Option<(OsString, bool)> {
    text.strip_prefix("unix:")?.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let is_abstract = match key {
            "path" => false,
            "abstract" => true,
            _ => return None,
        };
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let [first, more @ ..] = rest {
            rest = more;
            match (first, more) {
                (b'%', [high, low, more @ ..]) => {
                    let code = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&code).ok()?, 16).ok()?);
                    rest = more;
                }
                _ => bytes.push(*first),
            }
        }
        Some((OsString::from_vec(bytes), is_abstract))
    })
}

fn broken(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            Fault::new(format!("the bus, or systemd, has not answered within {} seconds", PATIENCE.as_secs()))
                .hint("see `systemctl list-jobs`; a unit's start may wait for another's")
        }
        io::ErrorKind::UnexpectedEof => Fault::new("the bus has closed the connection"),
        _ => io_fault("the connection to the bus".to_owned(), error),
    }
}

fn odd(what: &str) -> Fault {
    Fault::new(format!("the bus has answered with {what} that cannot be understood"))
}

fn io_fault(says: String, error: &io::Error) -> Fault {
    match Errno::from_io_error(error) {
        Some(errno) => Fault::call(says, errno),
        None => Fault::new(format!("{says}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread::spawn;
    use std::time::Duration;

    use super::{Bus, parse};

    /// Patience that ends, and one that does not on any machine.
    const LITTLE: Duration = Duration::from_millis(50);
    const MUCH: Duration = Duration::from_secs(60);

    /// What is said of a bus that does this.
    fn against(patience: Duration, bus: impl FnOnce(UnixStream) + Send + 'static) -> String {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let other = spawn(move || bus(theirs));
        let fault = Bus::over(ours, patience).err().unwrap();
        other.join().unwrap();
        fault.to_string()
    }

    /// Lets us in, and has heard our first call.
    fn admit(bus: &mut UnixStream) {
        let _ = bus.write_all(b"DATA\r\nOK 0123\r\n");
        let mut heard = Vec::new();
        while !heard.windows(5).any(|it| it == b"Hello") {
            let mut some = [0; 512];
            let n = bus.read(&mut some).unwrap_or(0);
            if n == 0 {
                return;
            }
            heard.extend_from_slice(&some[..n]);
        }
    }

    #[test]
    fn a_bus_that_hangs_is_given_up() {
        let says = against(LITTLE, |mut bus| drop(bus.read_to_end(&mut Vec::new())));
        assert!(says.contains("has not answered within"), "{says}");
        // It lets us in, and then tells only what nobody has asked for, without end.
        let says = against(LITTLE, |mut bus| {
            admit(&mut bus);
            let mut signal = b"l\x04\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
            while bus.write_all(&signal).is_ok() {
                signal[8] = signal[8].wrapping_add(1);
            }
        });
        assert!(says.contains("has not answered within"), "{says}");
    }

    #[test]
    fn a_bus_that_refuses_or_ends_is_told_apart() {
        let says = against(MUCH, |mut bus| {
            let _ = bus.read(&mut [0; 512]);
            bus.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        });
        assert!(says.contains("does not let this user in"), "{says}");
        let says = against(MUCH, |mut bus| admit(&mut bus));
        assert!(says.contains("closed the connection"), "{says}");
        let says = against(MUCH, |mut bus| {
            admit(&mut bus);
            bus.write_all(b"no message, sixteen bytes").unwrap();
        });
        assert!(says.contains("cannot be understood"), "{says}");
    }

    #[test]
    fn addresses_name_sockets() {
        let parsed = |text: &str| parse(text).map(|(name, is)| (name.into_string().unwrap(), is));
        assert_eq!(parsed("unix:path=/run/user/1000/bus"), Some(("/run/user/1000/bus".into(), false)));
        assert_eq!(parsed("unix:guid=1,abstract=/tmp/a%20b"), Some(("/tmp/a b".into(), true)));
        assert_eq!(parsed("unix:path=/a%2"), Some(("/a%2".into(), false)));
        assert_eq!(parsed("tcp:host=localhost"), None);
        assert_eq!(parsed("unix:tmpdir=/tmp"), None);
    }
}

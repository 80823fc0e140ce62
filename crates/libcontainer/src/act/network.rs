// SPDX-License-Identifier: Apache-2.0
//! Network devices of the host that become the container's (config-linux.md, Network Devices), by
//! five messages of rtnetlink(7).
//!
//! ```text
//! host's namespace       GETLINK, GETADDR   what there is: index and addresses
//! container's namespace  GETLINK            the names are free: a move that fails half-way cannot be undone
//! host's namespace       SETLINK            into the container's namespace, which takes it down, and its name
//! container's namespace  GETLINK, NEWADDR   the move has taken the addresses: they are set again
//!                        SETLINK            up
//! ```
//!
//! The rest (MTU, hardware address, …) is the device's own and moves with it. When the namespace ends
//! the kernel gives hardware back to the host, and removes what is virtual.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socket_with};

use super::namespace::{Joined, Visit, enter, too_many};
use super::path::open_host;
use super::spawn::Child;
use crate::error::{Call, Error, Fault, Result};
use crate::plan::namespaces::{Kind, NetDevice};
use crate::sys::process::unshare;
use crate::sys::socket;

/// Brings up the loopback device of the network namespace that this process is in.
pub fn loopback_up() -> Result<(), Fault> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_INET)")?;
    socket::loopback_up(socket.as_fd()).call(|| "ioctl(SIOCSIFFLAGS, lo up)")
}

/// A new network namespace, its loopback interface up, in which nobody is yet. The caller steps into
/// it and back.
pub fn new_namespace(visit: Visit) -> Result<OwnedFd, Fault> {
    unshare(Kind::Network.flag()).call(|| "unshare(CLONE_NEWNET)").map_err(too_many)?;
    loopback_up()?;
    let path = Path::new("/proc/self/ns/net");
    let fd = open_host(path, OFlags::RDONLY).call(|| format!("open({path:?})"))?;
    visit.back()?;
    Ok(fd)
}

/// Moves the devices into the network namespace of a process. All are looked up, and all names there,
/// before the first is moved.
pub fn move_devices(devices: &[NetDevice], child: &Child) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let within = |device: &NetDevice, fault: Fault| {
        Error::from(fault).within(format!("linux.netDevices.{}", device.host))
    };
    let mut host = Netlink::open()?;
    let mut found = Vec::with_capacity(devices.len());
    for device in devices {
        let link = host.link(&device.host).map_err(|fault| within(device, fault))?;
        let addresses = host.addresses(link).map_err(|fault| within(device, fault))?;
        found.push((device, link, addresses));
    }
    let fd = child.pidfd.try_clone().call(|| "dup(pidfd)")?;
    let Some(visit) = Visit::from(std::iter::once(Kind::Network))? else {
        let fault = Fault::new("the caller's network namespace is not its own: its devices cannot be moved");
        return Err(Error::from(fault).within("linux.netDevices"));
    };
    enter(&Joined { kind: Kind::Network, fd })?;
    let inside = Netlink::open();
    drop(visit);
    let mut inside = inside?;
    for device in devices {
        inside.must_be_free(&device.name).map_err(|fault| within(device, fault))?;
    }
    for (device, link, _) in &found {
        host.move_link(*link, device, child).map_err(|fault| within(device, fault))?;
    }
    for (device, _, addresses) in &found {
        inside.settle(device, addresses).map_err(|fault| within(device, fault))?;
    }
    Ok(())
}

/// An address as the kernel told it: the fixed part without the index, and the attributes to keep.
struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_PID: u16 = 19;
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
/// IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY.
const KEPT: [u16; 4] = [1, 2, 4, 9];
const IFA_F_PERMANENT: u32 = 0x80;
/// NODAD, MANAGETEMPADDR, NOPREFIXROUTE: what somebody chose; the rest is state.
const CHOSEN: u32 = 0x302;
const HEADER: usize = 16;

/// A socket to the network namespace in which it was made.
struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open() -> std::result::Result<Self, Fault> {
        // Protocol 0 is NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .call(|| "socket(NETLINK_ROUTE)")?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The index of a device.
    fn link(&mut self, name: &str) -> std::result::Result<i32, Fault> {
        let says = || format!("RTM_GETLINK({name})");
        let body = attribute(ifinfo(0, 0, 0), IFLA_IFNAME, &c_name(name));
        let answers = self.ask(RTM_GETLINK, 0, &body).call(says).map_err(|fault| match fault.errno {
            Some(Errno::NODEV) => {
                fault.hint("the device must be in the network namespace of the caller: see ip-link(8)")
            }
            _ => fault,
        })?;
        let link = answers.iter().find(|(kind, _)| *kind == RTM_NEWLINK);
        let index = link.and_then(|(_, body)| body.get(4..8)?.try_into().ok()).map(i32::from_ne_bytes);
        index.ok_or_else(|| Fault::new(format!("{}: no answer", says())))
    }

    /// No device has this name.
    fn must_be_free(&mut self, name: &str) -> std::result::Result<(), Fault> {
        match self.link(name) {
            Ok(_) => Err(Fault::new(format!("the container's network namespace has a device {name:?}"))
                .hint("give another name")),
            Err(fault) if fault.errno == Some(Errno::NODEV) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Addresses that somebody gave the device; what the kernel or a lease gave comes anew.
    fn addresses(&mut self, link: i32) -> std::result::Result<Vec<Address>, Fault> {
        let answers = self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8]).call(|| "RTM_GETADDR")?;
        let addresses = answers.iter().filter(|(kind, _)| *kind == RTM_NEWADDR);
        Ok(addresses.filter_map(|(_, body)| address(body, link)).collect())
    }

    fn move_link(&mut self, link: i32, device: &NetDevice, child: &Child) -> std::result::Result<(), Fault> {
        let pid = child.pid.as_raw_nonzero().get();
        let body = attribute(ifinfo(link, 0, 0), IFLA_IFNAME, &c_name(&device.name));
        let body = attribute(body, IFLA_NET_NS_PID, &pid.to_ne_bytes());
        self.ask(RTM_SETLINK, NLM_F_ACK, &body)
            .call(|| format!("RTM_SETLINK({}, to the container as {})", device.host, device.name))
            .map(drop)
            .map_err(|fault| match fault.errno {
                Some(Errno::INVAL) => fault.hint("devices of this kind cannot leave their network namespace"),
                Some(Errno::PERM) => fault.hint("moving a device needs CAP_NET_ADMIN on both sides"),
                _ => fault,
            })
    }

    /// In the container: addresses, and up.
    fn settle(&mut self, device: &NetDevice, addresses: &[Address]) -> std::result::Result<(), Fault> {
        // The index may be another here.
        let link = self.link(&device.name)?;
        for address in addresses {
            let mut body = vec![address.family, address.prefix, 0, address.scope];
            body.extend((link as u32).to_ne_bytes());
            for (kind, value) in &address.attributes {
                body = attribute(body, *kind, value);
            }
            if address.family == libc::AF_INET as u8 {
                body = attribute(body, IFA_LABEL, &c_name(&device.name));
            }
            self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_EXCL, &body)
                .call(|| format!("RTM_NEWADDR({})", device.name))?;
        }
        let up = libc::IFF_UP as u32;
        self.ask(RTM_SETLINK, NLM_F_ACK, &ifinfo(link, up, up))
            .call(|| format!("RTM_SETLINK({}, up)", device.name))
            .map(drop)
    }

    /// Sends a message and gathers its answers: type and body of each.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> std::result::Result<Vec<(u16, Vec<u8>)>, Errno> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(self.socket.as_fd(), &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let (length, _) = match recv(self.socket.as_fd(), buffer.as_mut_slice(), RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let mut rest = &buffer[..length];
            while let Some((kind, body, next)) = first_message(rest) {
                rest = next;
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        let code = body.get(..4).and_then(|code| code.try_into().ok());
                        return match code.map_or(-libc::EPROTO, i32::from_ne_bytes) {
                            0 => Ok(answers),
                            code => Err(Errno::from_raw_os_error(-code)),
                        };
                    }
                    kind => answers.push((kind, body.to_vec())),
                }
            }
            // A plain question has one answer and no word after it.
            if flags & (NLM_F_ACK | NLM_F_DUMP) == 0 && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// The first message of several: type, body, and what comes after.
fn first_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attributes of a message.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some([a, b, c, d]) = bytes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let Some(value) = bytes.get(4..length) else { break };
        all.push((u16::from_ne_bytes([*c, *d]), value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn attribute(mut body: Vec<u8>, kind: u16, value: &[u8]) -> Vec<u8> {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}

fn ifinfo(link: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(link.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn c_name(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// An address of this link, if it is one to keep: permanent and of the widest scope.
fn address(body: &[u8], link: i32) -> Option<Address> {
    let &[family, prefix, flags, scope, ref index @ ..] = body.first_chunk::<8>()?;
    let all = attributes(&body[8..]);
    let long = all.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, v)| (*v).try_into().ok());
    let flags = long.map_or(u32::from(flags), u32::from_ne_bytes);
    if u32::from_ne_bytes(*index) != link as u32 || scope != 0 || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    let kept = all.iter().filter(|(kind, _)| KEPT.contains(kind));
    let mut attributes: Vec<_> = kept.map(|(kind, value)| (*kind, value.to_vec())).collect();
    if flags & CHOSEN != 0 {
        attributes.push((IFA_FLAGS, (flags & CHOSEN).to_ne_bytes().to_vec()));
    }
    Some(Address { family, prefix, scope, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_go_in_and_come_out() {
        let body = attribute(attribute(Vec::new(), 3, &c_name("eth0")), 9, &[1, 2, 3, 4]);
        assert_eq!(attributes(&body), [(3, b"eth0\0".as_slice()), (9, &[1, 2, 3, 4])]);
        for length in 0..body.len() {
            attributes(&body[..length]);
            first_message(&body[..length]);
        }
    }

    #[test]
    fn only_permanent_addresses_of_the_device_are_kept() {
        let body = |flags: u8, scope: u8, index: u8| {
            attribute(vec![2, 24, flags, scope, index, 0, 0, 0], 2, &[10, 0, 0, 1])
        };
        assert!(address(&body(0x80, 0, 7), 7).is_some());
        assert!(address(&body(0x80, 0, 8), 7).is_none());
        assert!(address(&body(0x80, 253, 7), 7).is_none());
        assert!(address(&body(0, 0, 7), 7).is_none());
        assert!(address(&[2, 24], 7).is_none());
    }
}

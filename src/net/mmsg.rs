//! Linux's system calls for many datagrams at once, and for trains of them.

use std::io;
use std::mem::{size_of, zeroed, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::RawFd;

use crate::net::batch::{train_len, ReceiveBatch, SendBatch, Train, RECEIVE_MESSAGES, SEND_DATAGRAMS};
use crate::net::udp::canonical;

/// Room for one control message with an `int`, which is the largest that either way has.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Room for an address of either family; an IPv4 one is shorter.
type Name = libc::sockaddr_in6;

/// The length of a control message's head and of what it carries, as the kernel wants it in its head and for its room.
const fn control_len<T>() -> (usize, usize) {
    // SAFETY: both only calculate with a number.
    unsafe {
        (libc::CMSG_LEN(size_of::<T>() as u32) as usize, libc::CMSG_SPACE(size_of::<T>() as u32) as usize)
    }
}

const _: () = assert!(control_len::<libc::c_int>().1 <= size_of::<Control>());

/// Takes what waits, up to a batch's worth, into an empty batch: how many messages, and how many there could have
/// been. Errors: what the operating system says; WouldBlock when nothing waits.
pub fn receive(socket: RawFd, batch: &mut ReceiveBatch) -> io::Result<(usize, usize)> {
    batch.clear();
    let slot = batch.slot;
    let mut names = [const { MaybeUninit::<Name>::uninit() }; RECEIVE_MESSAGES];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; RECEIVE_MESSAGES];
    let mut pieces = [const { MaybeUninit::<libc::iovec>::uninit() }; RECEIVE_MESSAGES];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; RECEIVE_MESSAGES];
    let rooms = names.iter_mut().zip(&mut controls).zip(&mut pieces).zip(batch.arena.chunks_exact_mut(slot));
    let mut messages = 0;
    for (header, (((name, control), piece), slot)) in headers.iter_mut().zip(rooms) {
        let (name, control) = (name.write(NO_NAME), control.write(NO_CONTROL));
        let piece = piece.write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() });
        let mut msg_hdr = header_of(name, size_of::<Name>(), piece, 1);
        msg_hdr.msg_control = std::ptr::from_mut(control).cast();
        msg_hdr.msg_controllen = size_of::<Control>() as _;
        header.write(libc::mmsghdr { msg_hdr, msg_len: 0 });
        messages += 1;
    }
    // SAFETY: the first `messages` headers were written above. They point to names, control buffers, pieces and
    // slots, with the lengths of these, that outlive the call and that nothing else touches meanwhile.
    let result = unsafe {
        let headers = headers.as_mut_ptr().cast();
        libc::recvmmsg(socket, headers, messages as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
    };
    let received = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    for (header, name) in headers.iter().zip(&names).take(received.min(messages)) {
        // SAFETY: written above, and completed by the kernel.
        let header = unsafe { header.assume_init_ref() };
        // SAFETY: as above.
        let name = unsafe { name.assume_init_ref() };
        let len = (header.msg_len as usize).min(slot);
        let segment = segment_of(&header.msg_hdr).unwrap_or(len);
        // Whatever else a system may give, a datagram of nobody cannot be answered.
        let source = address_of(name, header.msg_hdr.msg_namelen).map_or(NOBODY, canonical);
        batch.trains.push(Train { source, len, segment });
    }
    Ok((received, messages))
}

/// Sends a batch in as few calls as it takes. `trains`: whether datagrams to one target may make one message.
/// `outward` gives an address the form that the socket wants. `call` makes each call, and may repeat it. `refused` gets the
/// datagrams of each message that the system did not take, before the next one leaves, and why.
pub fn send(
    socket: RawFd,
    batch: &SendBatch,
    trains: bool,
    outward: impl Fn(SocketAddr) -> SocketAddr,
    call: impl Fn(&mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>,
    mut refused: impl FnMut(Range<usize>, io::Error),
) {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; SEND_DATAGRAMS];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; SEND_DATAGRAMS];
    let mut pieces = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SEND_DATAGRAMS];
    for (piece, (datagram, _)) in pieces.iter_mut().zip(batch.datagrams_from(0)) {
        // The kernel only reads what it sends.
        *piece = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    }
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_DATAGRAMS];
    // Up to which datagram each message goes.
    let mut ends = [0; SEND_DATAGRAMS];
    let (mut messages, mut from) = (0, 0);
    // Each message's pieces are split off: what points to those before stays valid.
    let mut pieces = &mut pieces[..];
    let rooms = names.iter_mut().zip(&mut controls).zip(headers.iter_mut().zip(&mut ends));
    for ((name, control), (header, end)) in rooms {
        let Some((first, target)) = batch.datagrams_from(from).next() else { break };
        let alone = !trains || batch.travels_alone(target);
        let count = if alone { 1 } else { train_len(batch.datagrams_from(from)) };
        let Some((own, others)) = std::mem::take(&mut pieces).split_at_mut_checked(count) else { break };
        pieces = others;
        let name = name.write(NO_NAME);
        let name_len = write_name(name, outward(target));
        let mut msg_hdr = header_of(name, name_len, own.as_mut_ptr(), count);
        if count > 1 {
            msg_hdr.msg_control = std::ptr::from_mut(control.write(NO_CONTROL)).cast();
            msg_hdr.msg_controllen = control_len::<u16>().1 as _;
            write_segment(&msg_hdr, first.len() as u16);
        }
        header.write(libc::mmsghdr { msg_hdr, msg_len: 0 });
        from += count;
        *end = from;
        messages += 1;
    }
    let mut sent = 0;
    while let Some(rest) = headers.get_mut(sent..messages).filter(|rest| !rest.is_empty()) {
        // SAFETY: these headers were written above; what they point to, with the lengths of it, outlives the call. The
        // kernel writes nothing but each header's own `msg_len`.
        let result = call(&mut || unsafe {
            let n =
                libc::sendmmsg(socket, rest.as_mut_ptr().cast(), rest.len() as _, libc::MSG_DONTWAIT as _);
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        });
        match result {
            // An error of a later message shows when that one is the first.
            Ok(taken) => sent += taken.max(1),
            Err(error) => {
                let end = |message: Option<usize>| message.and_then(|m| ends.get(m)).copied().unwrap_or(0);
                refused(end(sent.checked_sub(1))..end(Some(sent)), error);
                sent += 1;
            }
        }
    }
}

/// A header without control messages.
fn header_of(name: &mut Name, name_len: usize, pieces: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: it is numbers and pointers (and padding in some libraries), for all of which zeros are valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = std::ptr::from_mut(name).cast();
    header.msg_namelen = name_len as libc::socklen_t;
    header.msg_iov = pieces;
    header.msg_iovlen = count as _;
    header
}

/// Tells the kernel to cut the message into datagrams of so many bytes.
fn write_segment(header: &libc::msghdr, segment: u16) {
    // SAFETY: the header's control buffer is a live `Control` with room for this message (see the assertion above), and
    // aligned for its head.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if !message.is_null() {
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = control_len::<u16>().0 as _;
            libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
        }
    }
}

/// The length of the datagrams that the kernel joined to this message, if it did.
// A control message's length is of another type in musl.
#[allow(clippy::unnecessary_cast)]
fn segment_of(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel set the header's control length to what it wrote into the control buffer, a live `Control`; the
    // macros stay within that.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            let is_segment = message.cmsg_level == libc::SOL_UDP && message.cmsg_type == libc::UDP_GRO;
            if is_segment && message.cmsg_len as usize >= control_len::<libc::c_int>().0 {
                let segment = libc::CMSG_DATA(next).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(segment).ok().filter(|segment| *segment > 0);
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    None
}

const NO_NAME: Name = Name {
    sin6_family: libc::AF_UNSPEC as libc::sa_family_t,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

const NO_CONTROL: Control = Control([0; 32]);

const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Writes an address; its length.
fn write_name(name: &mut Name, address: SocketAddr) -> usize {
    match address {
        SocketAddr::V6(v6) => {
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = v6.port().to_be();
            name.sin6_flowinfo = v6.flowinfo();
            name.sin6_addr.s6_addr = v6.ip().octets();
            name.sin6_scope_id = v6.scope_id();
            size_of::<Name>()
        }
        SocketAddr::V4(v4) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: it fits: an IPv4 address is shorter than an IPv6 one, and no more strictly aligned.
            unsafe { std::ptr::from_mut(name).cast::<libc::sockaddr_in>().write(v4) };
            size_of::<libc::sockaddr_in>()
        }
    }
}

/// Reads an address of so many bytes.
fn address_of(name: &Name, len: libc::socklen_t) -> Option<SocketAddr> {
    match (i32::from(name.sin6_family), len as usize) {
        (libc::AF_INET6, len) if len >= size_of::<Name>() => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        (libc::AF_INET, len) if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: `Name` is longer than an IPv4 address, no less strictly aligned, and all of it is initialised.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some((ip, u16::from_be(v4.sin_port)).into())
        }
        _ => None,
    }
}

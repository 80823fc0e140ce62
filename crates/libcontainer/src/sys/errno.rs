// SPDX-License-Identifier: Apache-2.0
//! Names and texts of errno values.
//!
//! The texts are ours and in lower case, because callers compare them: dockerd looks for
//! "permission denied" and "no such file or directory" exactly so. The C library's texts
//! begin with a capital letter.

use rustix::io::Errno;

/// The symbolic name (`ENOENT`) and the text ("no such file or directory") of an errno;
/// `None` for one that is not in the table.
pub fn describe(errno: Errno) -> Option<(&'static str, &'static str)> {
    TABLE.iter().find(|(e, _, _)| *e == errno).map(|&(_, name, text)| (name, text))
}

const TABLE: &[(Errno, &str, &str)] = &[
    (Errno::PERM, "EPERM", "operation not permitted"),
    (Errno::NOENT, "ENOENT", "no such file or directory"),
    (Errno::SRCH, "ESRCH", "no such process"),
    (Errno::INTR, "EINTR", "interrupted system call"),
    (Errno::IO, "EIO", "input/output error"),
    (Errno::NXIO, "ENXIO", "no such device or address"),
    (Errno::TOOBIG, "E2BIG", "argument list too long"),
    (Errno::NOEXEC, "ENOEXEC", "exec format error"),
    (Errno::BADF, "EBADF", "bad file descriptor"),
    (Errno::CHILD, "ECHILD", "no child processes"),
    (Errno::AGAIN, "EAGAIN", "resource temporarily unavailable"),
    (Errno::NOMEM, "ENOMEM", "cannot allocate memory"),
    (Errno::ACCESS, "EACCES", "permission denied"),
    (Errno::FAULT, "EFAULT", "bad address"),
    (Errno::NOTBLK, "ENOTBLK", "block device required"),
    (Errno::BUSY, "EBUSY", "device or resource busy"),
    (Errno::EXIST, "EEXIST", "file exists"),
    (Errno::XDEV, "EXDEV", "invalid cross-device link"),
    (Errno::NODEV, "ENODEV", "no such device"),
    (Errno::NOTDIR, "ENOTDIR", "not a directory"),
    (Errno::ISDIR, "EISDIR", "is a directory"),
    (Errno::INVAL, "EINVAL", "invalid argument"),
    (Errno::NFILE, "ENFILE", "too many open files in system"),
    (Errno::MFILE, "EMFILE", "too many open files"),
    (Errno::NOTTY, "ENOTTY", "inappropriate ioctl for device"),
    (Errno::TXTBSY, "ETXTBSY", "text file busy"),
    (Errno::FBIG, "EFBIG", "file too large"),
    (Errno::NOSPC, "ENOSPC", "no space left on device"),
    (Errno::SPIPE, "ESPIPE", "illegal seek"),
    (Errno::ROFS, "EROFS", "read-only file system"),
    (Errno::MLINK, "EMLINK", "too many links"),
    (Errno::PIPE, "EPIPE", "broken pipe"),
    (Errno::DOM, "EDOM", "numerical argument out of domain"),
    (Errno::RANGE, "ERANGE", "numerical result out of range"),
    (Errno::DEADLK, "EDEADLK", "resource deadlock avoided"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG", "file name too long"),
    (Errno::NOSYS, "ENOSYS", "function not implemented"),
    (Errno::NOTEMPTY, "ENOTEMPTY", "directory not empty"),
    (Errno::LOOP, "ELOOP", "too many levels of symbolic links"),
    (Errno::NODATA, "ENODATA", "no data available"),
    (Errno::PROTO, "EPROTO", "protocol error"),
    (Errno::OVERFLOW, "EOVERFLOW", "value too large for defined data type"),
    (Errno::ILSEQ, "EILSEQ", "invalid or incomplete multibyte or wide character"),
    (Errno::USERS, "EUSERS", "too many users"),
    (Errno::NOTSOCK, "ENOTSOCK", "socket operation on non-socket"),
    (Errno::MSGSIZE, "EMSGSIZE", "message too long"),
    (Errno::PROTOTYPE, "EPROTOTYPE", "protocol wrong type for socket"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP", "operation not supported"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT", "address family not supported by protocol"),
    (Errno::ADDRINUSE, "EADDRINUSE", "address already in use"),
    (Errno::CONNRESET, "ECONNRESET", "connection reset by peer"),
    (Errno::NOBUFS, "ENOBUFS", "no buffer space available"),
    (Errno::TIMEDOUT, "ETIMEDOUT", "connection timed out"),
    (Errno::CONNREFUSED, "ECONNREFUSED", "connection refused"),
    (Errno::ALREADY, "EALREADY", "operation already in progress"),
    (Errno::STALE, "ESTALE", "stale file handle"),
    (Errno::DQUOT, "EDQUOT", "disk quota exceeded"),
    (Errno::CANCELED, "ECANCELED", "operation canceled"),
    (Errno::NOKEY, "ENOKEY", "required key not available"),
];

"""A jail for the process that decodes: a file that takes over a decoder gains no network, program, file or secret.

    privileges     none, and none to gain; root keeps the right to read every file, because the sources may be anybody's
    rlimits        memory, size of a file, open files, threads and processes; no core dumps
    Landlock       refuses to change files, to start programs, TCP and signals; it hides other processes, whose
                   /proc/PID/environ would show the secrets of the worker
    seccomp        refuses sockets, programs, processes, changes of files and calls that reach into other processes

What a kernel or machine lacks is left out, and `enter` returns what is in force. Reading stays allowed, because the
sources lie anywhere on the machine. libseccomp, which every Debian and Red Hat system has, is called through ctypes,
because its bindings on PyPI are from 2021; those of Landlock are a development release.
"""

import ctypes
import errno
import os
import resource
from pathlib import Path

OPEN_FILES = 64
"""Largest number of files that the process may have open."""

_PR_SET_NO_NEW_PRIVS, _CAPABILITIES, _DAC_READ_SEARCH = 38, 0x20080522, 1 << 2  # from linux/prctl.h, capability.h
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # from seccomp.h, as the three lines that follow
_NO_NEW_PRIVS, _TSYNC, _OPTIMIZE = 3, 4, 8
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_UNKNOWN = -1  # what libseccomp returns for the name of a call that the machine does not have

_REFUSED = (
    # the network
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "socketcall", "io_uring_setup",
    "io_uring_enter", "io_uring_register",
    # programs and processes
    "execve", "execveat", "fork", "vfork", "setns", "unshare",
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_open", "pidfd_getfd",
    "pidfd_send_signal", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "perf_event_open", "kcmp",
    # files
    "creat", "openat2", "truncate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat",
    "rmdir", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chmod", "fchmodat", "fchmodat2",
    "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr",
    "removexattr", "lremovexattr", "open_by_handle_at",
    # the machine
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "pivot_root", "chroot", "swapon", "swapoff",
    "reboot", "kexec_load", "bpf", "keyctl", "add_key", "request_key", "userfaultfd", "init_module", "finit_module",
    "delete_module", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "acct", "quotactl",
    "sethostname", "setdomainname", "ioperm", "iopl", "shmget", "msgget", "semget", "mq_open", "setrlimit",
)  # fmt: skip

_CLONE_THREAD = 0x00010000
_WRITING = (os.O_WRONLY, os.O_RDWR)

_CREATE, _RESTRICT = 444, 446  # system calls of Landlock, with the same numbers on every architecture
_FILE_RIGHTS = {1: 0x1FF3, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # everything but reading, by the version that brought it
_TCP_RIGHTS, _SCOPES = (4, 0b11), (6, 0b11)  # bind and connect; abstract Unix sockets and signals


def enter(memory: int, file_bytes: int) -> list[str]:
    """Put this process into the jail, for good.

    The caller has loaded what it needs; every thread must be started by then, and later ones may be refused.

    Args:
        memory: bytes of address space that may be used in addition to those in use.
        file_bytes: largest size in bytes of a file that may be written.

    Returns:
        What is in force, in words: `seccomp`, `Landlock 7`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(memory, file_bytes)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_privileges(libc)
    landlock = _landlock(libc)
    return ([f"Landlock {landlock}"] if landlock else []) + (["seccomp"] if _seccomp() else [])


def _limit(memory: int, file_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _drop_privileges(libc: ctypes.CDLL) -> None:
    """Give up every capability of root but that of reading all files."""
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, for capabilities 0 to 31, then 32 to 63
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    libc.capget(header, sets)
    sets[:] = [sets[0] & _DAC_READ_SEARCH, sets[1] & _DAC_READ_SEARCH, 0, 0, 0, 0]
    libc.capset(header, sets)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def _landlock(libc: ctypes.CDLL) -> int:
    """Refuse all changes of files, programs and TCP; return Landlock's version, 0 if the kernel does not offer it."""
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return 0
    alone = len(list(Path("/proc/self/task").iterdir())) == 1  # Landlock restricts the calling thread alone
    rules = _Ruleset(
        files=sum(rights for since, rights in _FILE_RIGHTS.items() if version >= since),
        network=_TCP_RIGHTS[1] if version >= _TCP_RIGHTS[0] else 0,
        scoped=_SCOPES[1] if version >= _SCOPES[0] else 0,
    )
    size = 8 if version < _TCP_RIGHTS[0] else 16 if version < _SCOPES[0] else 24
    ruleset = libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return 0
    try:
        return version if libc.syscall(_RESTRICT, ruleset, 0) == 0 and alone else 0
    finally:
        os.close(ruleset)


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def _seccomp() -> bool:
    """Install the filter of system calls in all threads; return whether it is in force."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    if not context:
        return False

    def refuse(name: str, *where: _Comparison) -> None:
        call = library.seccomp_syscall_resolve_name(name.encode())
        if call != _UNKNOWN:
            both = (_Comparison * len(where))(*where)
            library.seccomp_rule_add_array(context, ctypes.c_uint32(_REFUSE), call, len(where), both)

    try:
        for setting, value in ((_NO_NEW_PRIVS, 1), (_TSYNC, 1), (_OPTIMIZE, 2)):
            library.seccomp_attr_set(context, setting, ctypes.c_uint32(value))
        for name in _REFUSED:
            refuse(name)
        for name, argument in (("open", 1), ("openat", 2)):
            for flag in _WRITING:
                refuse(name, _Comparison(argument, _MASKED_EQUAL, os.O_ACCMODE, flag))
            refuse(name, _Comparison(argument, _MASKED_EQUAL, os.O_CREAT, os.O_CREAT))
            refuse(name, _Comparison(argument, _MASKED_EQUAL, os.O_TRUNC, os.O_TRUNC))
        refuse("clone", _Comparison(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
        refuse("prlimit64", _Comparison(2, _NOT_EQUAL, 0, 0))
        for name in ("kill", "tgkill"):  # abort() signals its own process
            refuse(name, _Comparison(0, _NOT_EQUAL, os.getpid(), 0))
        _hide(library, context, "clone3")  # its flags lie in memory; the C library then calls `clone`
        return bool(library.seccomp_load(context) == 0)
    finally:
        library.seccomp_release(context)


def _hide(library: ctypes.CDLL, context: ctypes.c_void_p, name: str) -> None:
    call = library.seccomp_syscall_resolve_name(name.encode())
    if call != _UNKNOWN:
        library.seccomp_rule_add_array(context, ctypes.c_uint32(0x00050000 | errno.ENOSYS), call, 0, None)

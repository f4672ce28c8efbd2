"""A child whose system calls are watched: what it does to files is seen, and can be answered with an error.

By ptrace, straight from Python, so that nothing has to be installed. A seccomp filter lets all calls pass at full speed
but those asked for. Linux on x86-64 only; `is_possible` says whether here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

# The names of x86-64's calls that change files or their names, with the arguments that are a descriptor or a path.
CALLS = {
    1: "write", 2: "open", 18: "pwrite64", 20: "writev", 40: "sendfile", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 257: "openat",
    258: "mkdirat", 263: "unlinkat", 264: "renameat", 265: "linkat", 277: "sync_file_range", 285: "fallocate",
    296: "pwritev", 316: "renameat2", 326: "copy_file_range", 328: "pwritev2",
}  # fmt: skip
# Which argument names the file: a descriptor, a path, or a folder's descriptor and a path in it.
_DESCRIPTOR = {
    "write": 0, "pwrite64": 0, "writev": 0, "fsync": 0, "fdatasync": 0, "ftruncate": 0, "fallocate": 0, "pwritev": 0,
    "pwritev2": 0, "sync_file_range": 0, "sendfile": 0, "copy_file_range": 2,
}  # fmt: skip
_PATH = {"open": 0, "creat": 0, "truncate": 0, "rename": 0, "mkdir": 0, "rmdir": 0, "link": 0, "unlink": 0}
_PATH_AT = {"openat", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat"}

_AT_FDCWD = -100
_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_OPTIONS = 0x1 | 0x8 | 0x80 | 0x100000  # TRACESYSGOOD, TRACECLONE, TRACESECCOMP, EXITKILL
_EVENT_SECCOMP = 7
_AT_CALL = signal.SIGTRAP | 0x80
_WALL = 0x40000000
_REGISTERS = struct.Struct("=27Q")
_RAX, _ORIG_RAX = 10, 15
_ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi, rsi, rdx, r10, r8, r9
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass
class Call:
    """One system call on its way in."""

    name: str
    arguments: tuple[int, ...]
    process: int
    memory: int

    @cached_property
    def path(self) -> str:
        """The file that it is about, by the name it has now."""
        if self.name in _DESCRIPTOR:
            return self.opened(self.arguments[_DESCRIPTOR[self.name]])
        if self.name in _PATH:
            return self.text(self.arguments[_PATH[self.name]])
        return self.at(0)

    @cached_property
    def target(self) -> str:
        """The new name, of a rename or link."""
        return self.text(self.arguments[1]) if self.name in ("rename", "link") else self.at(2)

    @property
    def flags(self) -> int:
        """Of an open."""
        return self.arguments[1 if self.name == "open" else 2]

    def at(self, index: int) -> str:
        folder = ctypes.c_int(self.arguments[index] & 0xFFFFFFFF).value
        path = self.text(self.arguments[index + 1])
        return path if folder == _AT_FDCWD else os.path.join(self.opened(folder), path)  # noqa: PTH118

    def opened(self, descriptor: int) -> str:
        return os.readlink(f"/proc/{self.process}/fd/{descriptor}")  # noqa: PTH115 - many times

    def state(self, descriptor: int) -> tuple[int, int]:
        """Position and flags of an open file."""
        with open(f"/proc/{self.process}/fdinfo/{descriptor}", encoding="ascii") as file:  # noqa: PTH123
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return int(lines["pos"]), int(lines["flags"], 8)

    def memory_at(self, address: int, size: int) -> bytes:
        return os.pread(self.memory, size, address) if size else b""

    def text(self, address: int) -> str:
        found = b""
        while b"\0" not in found:
            step = 4096 - (address + len(found)) % 4096  # never past the end of a page
            found += self.memory_at(address + len(found), step)
        return os.fsdecode(found[: found.index(b"\0")])

    def data(self) -> bytes:
        """What is to be written."""
        if self.name in ("write", "pwrite64"):
            return self.memory_at(self.arguments[1], self.arguments[2])
        vectors = self.memory_at(self.arguments[1], 16 * self.arguments[2])
        return b"".join(self.memory_at(*piece) for piece in struct.iter_unpack("=QQ", vectors))


Answer = Callable[[Call], "int | None"]  # None: let it pass; an errno: don't do it; KILL
Note = Callable[[Call, int], None]
KILL = -1


def watch(job: Callable[[], None], entering: Answer, leaving: Note = lambda call, outcome: None) -> int:
    """Run the job in a fork of this process, which must have no other children. Gives its exit status, -9 if killed."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_watched(job)
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, _OPTIONS)
    _ptrace(_CONT, pid, 0)
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    under_way: dict[int, tuple[Call, int | None]] = {}
    try:
        while True:
            thread, status = os.waitpid(-1, _WALL)
            if not os.WIFSTOPPED(status):
                if thread == pid:
                    return os.waitstatus_to_exitcode(status)
                continue
            stop, event = os.WSTOPSIG(status), status >> 16
            if event == _EVENT_SECCOMP:
                registers = _registers(thread)
                if registers is None:
                    continue
                arguments = tuple(registers[index] for index in _ARGUMENTS)
                call = Call(CALLS[registers[_ORIG_RAX]], arguments, pid, memory)
                answer = entering(call)
                if answer == KILL:
                    os.kill(pid, signal.SIGKILL)
                    continue
                if answer is not None:
                    registers[_ORIG_RAX] = (1 << 64) - 1
                    _set_registers(thread, registers)
                under_way[thread] = call, answer
                _ptrace(_SYSCALL, thread, 0)
            elif stop == _AT_CALL and thread in under_way:
                call, answer = under_way.pop(thread)
                registers = _registers(thread)
                if registers is None:
                    continue
                if answer is not None:
                    registers[_RAX] = (1 << 64) - answer
                    _set_registers(thread, registers)
                leaving(call, ctypes.c_long(registers[_RAX]).value)
                _ptrace(_CONT, thread, 0)
            else:
                # A new thread begins with a stop, and says so to the one that made it.
                ours = event or stop in (signal.SIGSTOP, signal.SIGTRAP, _AT_CALL)
                _ptrace(_CONT, thread, 0 if ours else stop)
    finally:
        os.close(memory)


def is_possible() -> str:
    """An empty string, or why not here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "system calls are watched on Linux, x86-64, only"
    seen: list[str] = []
    try:
        status = watch(lambda: os.close(os.open("/dev/null", os.O_RDONLY)), lambda call: seen.append(call.path))
    except OSError as error:
        return f"this system lets no process be watched: {error}"
    return "" if status == 0 and "/dev/null" in seen else "this system lets no process be watched"


def _be_watched(job: Callable[[], None]) -> None:
    try:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _filter_calls()
        signal.alarm(60)
        job()
        os._exit(0)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _filter_calls() -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    step = struct.Struct("=HBBI")
    count = len(CALLS)
    steps = [step.pack(0x20, 0, 0, 0)]  # load the number of the call
    steps += [step.pack(0x15, count - index, 0, number) for index, number in enumerate(CALLS)]
    steps += [step.pack(0x06, 0, 0, _ALLOW), step.pack(0x06, 0, 0, _TRACE)]
    program = Program(len(steps), b"".join(steps))
    if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls")


def _registers(thread: int) -> list[int] | None:
    content = ctypes.create_string_buffer(_REGISTERS.size)
    if _libc.ptrace(_GETREGS, thread, None, content):
        return None  # killed meanwhile
    return list(_REGISTERS.unpack(content.raw))


def _set_registers(thread: int, registers: list[int]) -> None:
    _libc.ptrace(_SETREGS, thread, None, ctypes.create_string_buffer(_REGISTERS.pack(*registers), _REGISTERS.size))


def _ptrace(request: int, pid: int, value: int) -> None:
    if _libc.ptrace(request, pid, None, value) and ctypes.get_errno() != 3:  # gone: its end is reported by wait
        raise OSError(ctypes.get_errno(), "ptrace")

"""What the kernel says about processes and cores: CPU time, memory, who else is at work."""

import contextlib
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Threads of the SQLite driver, as the kernel cuts their names.
STORE_THREADS = "sqlx-sqlite"


@dataclass(frozen=True)
class CpuSeconds:
    """User and system time: of a whole process, and of its threads that serve the database."""

    total: float
    store: float

    def __sub__(self, earlier: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(self.total - earlier.total, self.store - earlier.store)


def _process_seconds(pid: int) -> float:
    # clock_getcpuclockid(3) makes this of a process's id. Unlike /proc/<pid>/stat it is exact to less than a tick.
    return time.clock_gettime((~pid << 3) | 2)


def _thread_seconds(task: Path) -> float:
    # The first field is the time on a CPU, in nanoseconds.
    return int((task / "schedstat").read_text().split()[0]) / 1e9


def _stat_fields(pid: int) -> list[str]:
    # proc(5): the name, the second field, stands in parentheses; the first of these is the third there.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def cpu(pid: int) -> CpuSeconds:
    """CPU time that a process has used until now."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    store = sum(_thread_seconds(task) for task in tasks if (task / "comm").read_text().startswith(STORE_THREADS))
    return CpuSeconds(_process_seconds(pid), store)


def family_cpu_seconds(pid: int) -> float:
    """CPU time that a process and its children, also those that have ended, have used until now."""
    # Fields 16 and 17, in ticks, are those of children that have ended.
    ended = sum(map(int, _stat_fields(pid)[13:15])) / TICKS_PER_SECOND
    seconds = _process_seconds(pid) + ended
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # One may end while this looks.
        with contextlib.suppress(OSError):
            seconds += _process_seconds(int(child))
    return seconds


def parent(pid: int) -> int:
    """The process that started this one."""
    return int(_stat_fields(pid)[1])


def core_busy(core: int) -> float:
    """Seconds for which a core has worked until now, whoever for."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, interrupts, soft_interrupts, steal = map(int, ticks[:8])
            return (user + nice + system + interrupts + soft_interrupts + steal) / TICKS_PER_SECOND
    raise RuntimeError(f"there is no core {core}")


def resident_bytes(pid: int) -> int:
    """Memory that a process has resident now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has ended")


def allow_many_files() -> None:
    """As many open files as this process may have; its children inherit that."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def description() -> str:
    """The machine in a line."""
    cpu_info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in cpu_info if line.startswith("model name")), "unknown CPU")
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release}"

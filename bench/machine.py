"""What the kernel says about processes and cores: CPU time, memory, who else is at work."""

import os
import resource
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


def _name_and_seconds(stat: Path) -> tuple[str, float]:
    # proc(5): the name stands in parentheses; utime and stime are fields 14 and 15.
    before, _, after = stat.read_text().rpartition(") ")
    fields = after.split()
    return before.partition("(")[2], (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def cpu(pid: int) -> CpuSeconds:
    """CPU time that a process has used until now."""
    store = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, seconds = _name_and_seconds(task / "stat")
        if name.startswith(STORE_THREADS):
            store += seconds
    return CpuSeconds(_name_and_seconds(Path(f"/proc/{pid}/stat"))[1], store)


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

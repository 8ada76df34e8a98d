"""A wall clock that programs under test share, and that tests set: days pass when a test says so."""

import datetime
import mmap
import os
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("shifted_clock.c")
DAY = 86_400


class ShiftedClock:
    """Goes as fast as the real one. Programs that run with `environment` see it."""

    def __init__(self, directory: Path):
        library, path = directory / "shifted_clock.so", directory / "shift"
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        path.write_bytes(struct.pack("q", 0))
        with path.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(path)}

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + struct.unpack("q", self._shift[:8])[0]

    def today(self) -> datetime.date:
        return datetime.datetime.fromtimestamp(self.now(), datetime.UTC).date()

    def set(self, day: datetime.date, clock: str) -> None:
        """It is this time of this day in UTC."""
        moment = datetime.datetime.combine(day, datetime.time.fromisoformat(clock), datetime.UTC)
        self._shift[:8] = struct.pack("q", round(moment.timestamp() - time.time()))

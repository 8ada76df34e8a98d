"""What AI Router's own metrics say about settlement."""

import http.client
from dataclasses import dataclass

LAG = "airouter_settlement_lag_seconds"
BATCH = "airouter_commit_batch_events"
SCRAPE_SECONDS = 10


@dataclass(frozen=True)
class Histogram:
    """How often a value was at most so large: counts by upper bound, the last of which is infinite."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float

    @property
    def count(self) -> float:
        return self.counts[-1]

    def _with(self, other: "Histogram", sign: int) -> "Histogram":
        counts = tuple(own + sign * count for own, count in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum + sign * other.sum)

    def __add__(self, other: "Histogram") -> "Histogram":
        return self._with(other, 1)

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        return self._with(earlier, -1)

    def quantile(self, part: float) -> float:
        """An estimate, as if values were spread evenly between two bounds; at most the largest finite one."""
        wanted, lower, below = part * self.count, 0.0, 0.0
        for bound, count in zip(self.bounds[:-1], self.counts, strict=False):
            if count >= wanted and count > below:
                return lower + (bound - lower) * (wanted - below) / (count - below)
            lower, below = bound, count
        return lower

    def bound_of(self, part: float) -> float:
        """The smallest bound that so much is within."""
        reached = zip(self.bounds, self.counts, strict=True)
        return next(bound for bound, count in reached if count >= part * self.count)


@dataclass(frozen=True)
class Settlement:
    """From a usage event's being handed over to its being durable, in seconds; and events by commit."""

    lag: Histogram
    batch: Histogram

    def __add__(self, other: "Settlement") -> "Settlement":
        return Settlement(self.lag + other.lag, self.batch + other.batch)

    def __sub__(self, earlier: "Settlement") -> "Settlement":
        return Settlement(self.lag - earlier.lag, self.batch - earlier.batch)

    @property
    def events(self) -> float:
        """How many became durable."""
        return self.lag.count

    @property
    def commits(self) -> float:
        """How many group commits there were."""
        return self.batch.count

    @property
    def events_by_commit(self) -> float:
        """The mean."""
        return self.batch.sum / self.batch.count


def scrape(port: int) -> dict[str, float]:
    """What `/metrics` says, by series."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def histogram(series: dict[str, float], name: str) -> Histogram:
    """One without labels of its own."""
    before = f'{name}_bucket{{le="'
    buckets = {float(key[len(before) : -2]): count for key, count in series.items() if key.startswith(before)}
    bounds = tuple(sorted(buckets))
    return Histogram(bounds, tuple(buckets[bound] for bound in bounds), series[f"{name}_sum"])


def settlement(port: int) -> Settlement:
    """Since the program began."""
    series = scrape(port)
    return Settlement(histogram(series, LAG), histogram(series, BATCH))

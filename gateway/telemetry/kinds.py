"""What kinds of metrics there are, and how each lies in the words of the board.

Every combination of labels is known beforehand and has its words, so that counting is an addition in shared memory,
and clients cannot make labels up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]
Aggregate = Callable[[Sequence[float]], float]
_FEW = 24
"""Up to so many combinations, those that were never counted are shown as well: a rate needs a 0 to begin with."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all combinations of its labels. The name goes without the suffixes that its kind adds."""

    name: str
    help: str
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The values that each label may have."""
    combinations: tuple[Labels, ...] = field(init=False, repr=False)
    """All combinations of labels, in the order of their words."""

    def __post_init__(self) -> None:
        """Combine the labels, once."""
        object.__setattr__(self, "combinations", tuple(itertools.product(*self.labels.values())))

    @property
    def words_each(self) -> int:
        """How many words one combination of labels takes."""
        return 1

    @property
    def size(self) -> int:
        """How many words it takes."""
        return len(self.combinations) * self.words_each

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        return (self.name,)

    def read(self, words: Sequence[float], living: Sequence[Sequence[float]]) -> Metric:
        """Return it as Prometheus reads it, of its words: all workers' added up, and those of each living one."""
        raise NotImplementedError

    @property
    def is_small(self) -> bool:
        """Whether combinations that were never counted are shown."""
        return len(self.combinations) <= _FEW


@dataclass(frozen=True, slots=True)
class Counter(Family):
    """A number that only grows."""

    @property
    def samples(self) -> tuple[str, ...]:
        """See the base."""
        return (f"{self.name}_total",)

    def read(self, words: Sequence[float], living: Sequence[Sequence[float]]) -> Metric:
        """See the base."""
        del living
        family = CounterMetricFamily(self.name, self.help, labels=tuple(self.labels))
        shows_all = self.is_small
        for labels, value in zip(self.combinations, words, strict=True):
            if value or shows_all:
                family.add_metric(labels, value)
        return family


@dataclass(frozen=True, slots=True)
class Gauge(Family):
    """A number that is true of a worker as long as it lives."""

    over_workers: Aggregate = sum
    """What the numbers of several workers come to."""

    def read(self, words: Sequence[float], living: Sequence[Sequence[float]]) -> Metric:
        """See the base."""
        del words
        family = GaugeMetricFamily(self.name, self.help, labels=tuple(self.labels))
        for place, labels in enumerate(self.combinations):
            family.add_metric(labels, self.over_workers([each[place] for each in living]) if living else 0.0)
        return family


@dataclass(frozen=True, slots=True)
class Reading(Family):
    """A number of the whole installation, which a worker reads elsewhere when it is asked: it has no words."""

    @property
    def words_each(self) -> int:
        """See the base."""
        return 0

    def read(self, words: Sequence[float], living: Sequence[Sequence[float]]) -> Metric:
        """See the base; nobody knows its values there."""
        del words, living
        return self.show({})

    def show(self, values: Mapping[Labels, float]) -> Metric:
        """Return it as Prometheus reads it; what is not known is left out."""
        family = GaugeMetricFamily(self.name, self.help, labels=tuple(self.labels))
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


@dataclass(frozen=True, slots=True)
class Histogram(Family):
    """How often something was how much: a word for each bucket, one for what is above them, and one for the sum."""

    bounds: tuple[float, ...] = ()

    @property
    def words_each(self) -> int:
        """See the base."""
        return len(self.bounds) + 2

    @property
    def is_small(self) -> bool:
        """See the base; each combination takes many lines here."""
        return len(self.combinations) == 1

    @property
    def samples(self) -> tuple[str, ...]:
        """See the base."""
        return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")

    def read(self, words: Sequence[float], living: Sequence[Sequence[float]]) -> Metric:
        """See the base."""
        del living
        family = HistogramMetricFamily(self.name, self.help, labels=tuple(self.labels))
        upper = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        size = self.words_each
        for place, labels in enumerate(self.combinations):
            *buckets, total = words[place * size : (place + 1) * size]
            counts = list(itertools.accumulate(buckets))
            if counts[-1] or self.is_small:
                family.add_metric(labels, list(zip(upper, counts, strict=True)), total)
        return family

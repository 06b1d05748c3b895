"""The rows of a batch: what it is, how it is cut, who works on it, and where its lines go."""

from batches.models.batch import TERMINAL, TRANSITIONS, Batch, Status, Transition
from batches.models.fleet import Engine, Host, Pace, Share
from batches.models.shard import USAGE, Segment, Shard
from batches.models.upstream import Upstream

__all__ = [
    "TERMINAL",
    "TRANSITIONS",
    "USAGE",
    "Batch",
    "Engine",
    "Host",
    "Pace",
    "Segment",
    "Shard",
    "Share",
    "Status",
    "Transition",
    "Upstream",
]

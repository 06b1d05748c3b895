"""The rows of a batch: what it is, how it is cut, who works on it, where its lines go, and what they brought."""

from batches.models.batch import (
    ACTIVE,
    OPEN_LINES,
    TERMINAL,
    TRANSITIONS,
    Batch,
    Priority,
    Status,
    Transition,
)
from batches.models.fleet import Engine, Host, Pace, Share
from batches.models.metadata import MetadataPair
from batches.models.shard import USAGE, Segment, Shard
from batches.models.traffic import BatchMinute, OwnerHour, TrafficSlice
from batches.models.upstream import Upstream

__all__ = [
    "ACTIVE",
    "OPEN_LINES",
    "TERMINAL",
    "TRANSITIONS",
    "USAGE",
    "Batch",
    "BatchMinute",
    "Engine",
    "Host",
    "MetadataPair",
    "OwnerHour",
    "Pace",
    "Priority",
    "Segment",
    "Shard",
    "Share",
    "Status",
    "TrafficSlice",
    "Transition",
    "Upstream",
]

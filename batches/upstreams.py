"""What is done to upstreams beyond a row: corrected, and tried with a real call."""

from batches.executor.retry import KEY_REFUSED
from batches.models import Upstream


def is_refused(upstream: Upstream) -> bool:
    """Whether engines have paused it because it refused the key. An operator's own pause names the operator first."""
    return upstream.paused_at is not None and upstream.pause_reason.startswith(KEY_REFUSED)

"""What django-q2 runs: the pipeline on one screen. Every task may run twice, at once, late, or never.

validate_batch -> run_turn (any number) -> finalize_batch; sweep wakes whatever was lost on the way.
"""

import accounts.acts  # noqa: F401 - what was begun on accounts and keys is carried on here, too
from batches import acts, cluster, execution, results, salvage, traffic, validation
from batches import sweep as sweeping
from console import logins
from files.sweep import purge_files


def validate_batch(batch_id: str) -> None:
    """Check the input file; a good one is cut into shards, and engines are called for."""
    validation.validate(batch_id)
    sweeping.top_up()


def run_turn() -> None:
    """Run lines of whatever is due, for a bounded time."""
    execution.run_turn(cluster.draining)
    sweeping.top_up()


def finalize_batch(batch_id: str) -> None:
    """Bring a batch to its end, if that is due."""
    results.finalize(batch_id)


def carry_on_act(act_id: str) -> None:
    """Go on with what an operator has begun."""
    acts.carry_on(int(act_id))


def sweep() -> None:
    """Find what is due and has no living owner, and wake it."""
    sweeping.sweep()


def purge() -> None:
    """Remove expired files, bytes that no row names, spools of engines long gone, old failures of tasks and logins, dead sessions and old traffic."""
    purge_files()
    salvage.purge()
    sweeping.forget_failures()
    logins.purge()
    traffic.forget()

"""What narrows a list without a tab or a filter that shows it, as of a link from another page: it is told all the same."""

import re

import pytest
from django.test import Client

from batches.models import Batch, OwnerHour
from tests.console.operators import list_of

pytestmark = pytest.mark.django_db
CHIP = re.compile('<span class="chip">([^<]*)</span>')


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=in_progress", ["state: in_progress"]),
        ("failed__gt=0", ["failed &gt; 0"]),
        ("completed__gte=1&completed__lt=2&total=1",
         ["completed ≥ 1", "completed &lt; 2", "total: 1"]),
        ("model__iexact=%3Cscript%3E%E2%80%AE", ["model iexact: &lt;script&gt;⟨U+202E⟩"]),
        ("endpoint=/v1/other", ["endpoint: /v1/other"]),
        ("state=nonsense", []),
        ("state=active&account=a&user=b&model=m&endpoint=/v1/embeddings&failures=yes&q=x&o=7", []),
        ("created_from=2026-01-02", []),
    ],
)  # fmt: skip
def test_what_no_tab_and_no_filter_shows_stands_beside_clear(
    query: str, expected: list[str], viewer: Client
) -> None:
    shown = viewer.get(f"{list_of(Batch)}?{query}").content.decode()

    assert CHIP.findall(shown) == expected
    if expected:
        assert 'class="clear-filters" href="?"' in shown
        assert "Nothing matches." in shown


def test_what_a_column_of_a_chart_leads_to_is_shown_and_cleared(admin_client: Client) -> None:
    query = {"hour__gte": "2026-01-02T00:00:00+00:00", "failed__gt": "0"}

    shown = admin_client.get(list_of(OwnerHour), query).content.decode()

    assert CHIP.findall(shown) == ["hour ≥ 2026-01-02T00:00:00+00:00", "failed &gt; 0"]
    assert 'class="clear-filters" href="?"' in shown

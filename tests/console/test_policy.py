"""Every page tells the browser to run nothing that stands in it, and no template needs more."""

import re
from pathlib import Path

import pytest
from django.test import Client

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
INLINE = re.compile(
    r"""<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)""", re.IGNORECASE
)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/admin/login/", "/admin/nowhere/", "/admin/"])
def test_a_page_bears_the_strict_policy(path: str, admin_client: Client) -> None:
    policy = admin_client.get(path, follow=True)["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'; base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_api_reference_may_do_no_more_than_draw_icons_from_data(client: Client) -> None:
    strict, reference = (
        dict(part.split(" ", 1) for part in client.get(path)["Content-Security-Policy"].split("; "))
        for path in ("/", "/docs/")
    )

    assert reference == strict | {"img-src": "'self' data:"}


def test_what_is_no_page_bears_none(client: Client) -> None:
    assert "Content-Security-Policy" not in client.get("/livez")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_anything_inline(path: Path) -> None:
    assert INLINE.findall(path.read_text()) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_marks_a_text_as_safe(path: Path) -> None:
    told = re.sub(r"(field\.)+help_text\|safe", "", path.read_text())  # Django's own, in HTML
    assert "|safe" not in told
    assert "autoescape off" not in told

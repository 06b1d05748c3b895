"""The caller's address is believed only as far as our own proxies vouch for it."""

import pytest
from django.conf import settings
from django.test import RequestFactory

from console.address import caller_address, origin


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "found"),
    [
        (0, "192.0.2.1", None, "192.0.2.1"),
        (0, "192.0.2.1", "203.0.113.9", "192.0.2.1"),  # nobody vouches for it
        (1, "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (
            1,
            "10.0.0.1",
            "6.6.6.6, 203.0.113.9",
            "203.0.113.9",
        ),  # the first is the caller's own claim
        (2, "10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (2, "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (1, "10.0.0.1", "<script>", "10.0.0.1"),
        (1, "10.0.0.1", None, "10.0.0.1"),
        (1, "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        (1, "10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        (0, "::ffff:192.0.2.1", None, "192.0.2.1"),
        (0, "fe80::1%eth0", None, "fe80::1"),
        (0, "", None, ""),
    ],
)
def test_the_callers_address(
    proxies: int, peer: str, forwarded: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PROXIES", proxies)
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}

    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)

    assert caller_address(request) == found


def test_a_network_of_ipv6_is_one_origin() -> None:
    assert origin("2001:db8:1:2:3:4:5:6") == origin("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert origin("2001:db8:1:3::9") != origin("2001:db8:1:2::9")
    assert origin("192.0.2.1") == "192.0.2.1"
    assert origin("") == ""

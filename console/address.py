"""Where a request came from, as far as the proxies in front of the service can be believed."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

IPV6_SITE_BITS = 64  # one customer has all addresses of such a network


def caller_address(request: HttpRequest) -> str:
    """Return the caller's IP address, or "" when the server does not know it.

    Of X-Forwarded-For only as many entries are believed, from the right, as there are proxies of ours (PROXIES);
    whatever a caller puts there himself is never looked at.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    believed = [peer, *(entry.strip() for entry in reversed(forwarded))][: settings.PROXIES + 1]
    for entry in reversed(believed):
        if address := _parsed(entry):
            return str(address)
    return ""


def origin(address: str) -> str:
    """Return what one caller can choose among at will: the address, or the site network of an IPv6 one."""
    parsed = _parsed(address)
    if parsed is None or parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

import asyncio
import datetime
import gzip
import socket
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from batches.executor.transport import Kind, TransportError
from tests.batches.executor.scripted import Raw, reply, serving, transport, until
from tests.support.ports import held_port

HEADERS = {
    "authorization": "Bearer sk-up",
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "x-request-id": "b:1:1",
}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def post(upstream, *, timeout=5.0, body=b"{}", max_bytes=1000):  # noqa: ASYNC109 - the interface
    async with transport(max_bytes) as http:
        return await http.post(upstream.url + "/x", HEADERS, body, timeout)


async def failure(upstream, **changes) -> Kind:
    with pytest.raises(TransportError) as caught:
        await post(upstream, **changes)
    return caught.value.kind


async def test_request_and_answer_keep_their_bytes():
    body = b'{ "a" : 1.0, "\xc3\xa9":"\\u00e9" }\r\n'
    async with serving(lambda call: reply(call.body, X_Request_ID="req_1")) as upstream:
        answer = await post(upstream, body=body)

    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, body, "req_1")
    assert upstream.calls[0].body == body


async def test_the_callers_headers_are_all_there_are():
    async with serving() as upstream:
        await post(upstream)

    sent = dict(upstream.calls[0].headers)
    assert sent.pop("host") == upstream.url.split("/")[2]
    assert sent.pop("content-length") == "2"
    assert sent == HEADERS


async def test_connections_are_kept_and_cookies_are_not():
    async with (
        serving(lambda call: reply(Set_Cookie="a=b")) as upstream,
        transport() as http,
    ):
        url = upstream.url.replace("127.0.0.1", "localhost")  # jars take none from bare addresses
        for _ in range(3):
            await http.post(url, HEADERS, b"{}", 5)

    assert upstream.connections == 1
    assert all("cookie" not in call.headers for call in upstream.calls)


async def test_proxies_of_the_environment_are_ignored(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    async with serving() as upstream:
        assert (await post(upstream)).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(status):
    async with serving(lambda call: reply(status=status, Location="/elsewhere")) as upstream:
        assert (await post(upstream)).status == status
        assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b""),
        Raw(b"", then="reset"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", then="reset"),
        Raw(CHUNKED + b"5\r\n{}"),
        Raw(CHUNKED + b"2\r\n{}\r\n"),
        Raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
        Raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
        Raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\nContent-Length: 2\r\n\r\n{}"),
    ],
    ids=["closed", "reset", "half a head", "short body", "reset in body", "short piece",
         "no last piece", "bad piece", "not http", "huge header"],
)  # fmt: skip
async def test_a_broken_answer(raw):
    async with serving(lambda call: raw) as upstream:
        assert await failure(upstream) is Kind.BROKEN


async def test_a_body_without_a_length_ends_with_the_connection():
    async with serving(lambda call: Raw(b'HTTP/1.1 200 OK\r\n\r\n{"a":')) as upstream:
        assert (await post(upstream)).body == b'{"a":'


async def test_many_interim_answers_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 50
    async with serving(lambda call: interim + reply()) as upstream:
        assert (await post(upstream)).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        Raw(then="hang"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", then="hang"),
        Raw(reply(b"{" + b" " * 900 + b"}"), pace=0.05),
    ],
    ids=["before the head", "in the body", "byte by byte"],
)
async def test_the_deadline_is_for_the_whole_call(raw):
    async with serving(lambda call: raw) as upstream:
        assert await failure(upstream, timeout=0.2) is Kind.TIMEOUT


@pytest.mark.parametrize(
    "raw",
    [
        reply(b"x" * 1001),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001),
        Raw(CHUNKED + b"3e9\r\n" + b"x" * 1001, then="hang"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n", then="hang"),
    ],
    ids=["sized", "unsized", "in pieces", "announced"],
)
async def test_a_body_over_the_cap_is_refused_while_it_comes(raw):
    async with serving(lambda call: raw) as upstream:
        assert await failure(upstream) is Kind.TOO_LARGE


async def test_a_body_of_exactly_the_cap_is_taken():
    async with serving(lambda call: reply(b"x" * 1000)) as upstream:
        assert len((await post(upstream)).body) == 1000


@pytest.mark.parametrize("encoding", ["gzip", "br", "Identity"])
async def test_an_encoding_that_was_not_asked_for_is_refused(encoding):
    bomb = gzip.compress(b" " * 500_000)
    async with serving(lambda call: reply(bomb, Content_Encoding=encoding)) as upstream:
        if encoding == "Identity":
            assert (await post(upstream)).body == bomb
        else:
            assert await failure(upstream) is Kind.ENCODED


async def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        async with transport() as http:
            with pytest.raises(TransportError) as caught:
                await http.post(url, HEADERS, b"{}", 5)
    assert caught.value.kind is Kind.UNREACHABLE


@pytest.mark.parametrize("url", ["http://upstream.invalid/x", "https://127.0.0.1:1/x", "nonsense"])
async def test_an_address_that_leads_nowhere(url):
    async with transport() as http:
        with pytest.raises(TransportError) as caught:
            await http.post(url, HEADERS, b"{}", 5)
    assert caught.value.kind is Kind.UNREACHABLE


def self_signed(folder, *, days: int) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    end = datetime.datetime.fromtimestamp(time.time(), datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("days", [9, -9], ids=["self-signed", "expired"])
async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path, days):
    async with serving(tls=self_signed(tmp_path, days=days)) as upstream:
        assert await failure(upstream) is Kind.UNREACHABLE
        assert upstream.calls == []


async def test_a_server_that_never_speaks_tls_is_unreachable_soon():
    async with serving() as upstream, transport(connect_seconds=0.2) as http:
        with pytest.raises(TransportError) as caught:
            await http.post(upstream.url.replace("http:", "https:"), HEADERS, b"{}", 60)
    assert caught.value.kind is Kind.UNREACHABLE


async def test_a_kept_connection_that_the_server_has_closed_is_broken_or_new():
    closing = reply(Connection="keep-alive")
    async with serving(lambda call: closing if call.number == 1 else Raw()) as upstream:
        async with transport() as http:
            await http.post(upstream.url + "/x", HEADERS, b"{}", 5)
            with pytest.raises(TransportError) as caught:
                await http.post(upstream.url + "/x", HEADERS, b"{}", 5)
        assert caught.value.kind is Kind.BROKEN
        assert len(upstream.calls) == 2  # not sent again behind the engine's back


async def test_cancelling_closes_the_connection():
    async with serving(lambda call: Raw(then="hang")) as upstream, transport() as http:
        call = asyncio.create_task(http.post(upstream.url + "/x", HEADERS, b"{}", 60))
        await until(lambda: upstream.in_flight == 1)
        call.cancel()
        await until(lambda: upstream.in_flight == 0)

        assert upstream.aborted == 1
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_calls_go_through_the_proxy_that_is_named():
    async with serving() as proxy, transport(proxy=proxy.url.removesuffix("/v1")) as http:
        answer = await http.post("http://upstream.invalid/v1/x", HEADERS, b"[1]", 5)

    assert answer.status == 200
    (call,) = proxy.calls
    assert (call.path, call.body) == ("http://upstream.invalid/v1/x", b"[1]")
    assert call.headers["host"] == "upstream.invalid"


async def test_a_proxy_that_is_away_was_sent_nothing():
    with held_port() as port:
        async with transport(proxy=f"http://127.0.0.1:{port}") as http:
            with pytest.raises(TransportError) as caught:
                await http.post("http://upstream.invalid/v1/x", HEADERS, b"{}", 5)

    assert caught.value.kind is Kind.UNREACHABLE

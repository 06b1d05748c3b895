"""Certificates for servers on loopback, by an authority of the test's own."""

import datetime
import inspect
import ssl
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


@dataclass
class Authority:
    """Vouches for servers; `file` is what a client must trust."""

    folder: Path

    def __post_init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The test's authority")])
        self.file = str(self.folder / "authority.pem")
        usage = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
        own = (  # all that VERIFY_X509_STRICT asks for, the default from Python 3.13 on
            self._builder(self._name, self._key, days=9)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**{**usage, "key_cert_sign": True}), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
        )
        Path(self.file).write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def server(self, host="127.0.0.1", *, days=9) -> ssl.SSLContext:
        """Return the context of a server whose certificate names `host` and ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
        certificate = (
            self._builder(x509.Name([]), key, days)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        file = self.folder / "server.pem"
        file.write_bytes(
            certificate.public_bytes(PEM)
            + key.private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject, key, days):
        end = datetime.datetime.fromtimestamp(time.time(), datetime.UTC) + datetime.timedelta(days)
        return (
            x509.CertificateBuilder(
                self._name, subject, key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(end - datetime.timedelta(30))
            .not_valid_after(end)
        )

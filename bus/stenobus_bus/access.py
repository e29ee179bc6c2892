"""Who a process is to the server, and how it knows that the server is the right one."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .client import NotEncrypted
from .errors import AccessDenied, ServerUnavailable

_SEED: Final = re.compile(rb"^SU[A-Z2-7]{56}$", re.MULTILINE)
#: What stands before the host; a comma in it may be part of a password.
_CREDENTIALS: Final = re.compile(r"(^|://)[^/]*@")
#: Inboxes of a user without a key of its own.
_INBOX: Final = "_INBOX"


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials and certificates of a connection. With none, it connects as anybody may.

    Args:
        credentials: file with an nkey seed (``SU…``), or a ``.creds`` file of a JWT.
        ca: file with the certificates that may have signed the server's; those of the system when None.
        certificate: file with the client's own certificate, for servers that ask for one.
        key: file with its key.
        inbox: prefix of the subjects that answers come to; follows from the nkey when None.
    """

    credentials: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    inbox: str | None = None

    def options(self, url: str) -> dict[str, Any]:
        """Options of the NATS client for a connection to ``url``.

        Raises:
            AccessDenied: a file cannot be read, or holds something else.
        """
        options: dict[str, Any] = {"inbox_prefix": self.inbox or _INBOX}
        if self.credentials is not None:
            content = _read(self.credentials, "credentials")
            if b"BEGIN NATS USER JWT" in content:
                options["user_credentials"] = str(self.credentials)
            elif (seed := _SEED.search(content)) is not None:
                options["nkeys_seed_str"] = seed[0].decode()
                options["inbox_prefix"] = self.inbox or inbox(public_key(seed[0]))
            else:
                raise AccessDenied(
                    f"The credentials file {self.credentials} holds neither an nkey seed nor a JWT; write one with "
                    "`stenobus bus users`."
                )
        if self.secure(url):
            options["tls"] = self._context()
        return options

    def secure(self, url: str) -> bool:
        """Whether the connection must be encrypted."""
        return bool(self.ca or self.certificate) or any(urlsplit(part).scheme == "tls" for part in url.split(","))

    def _context(self) -> ssl.SSLContext:
        """Verifies the server's certificate and its name."""
        for path, what in ((self.ca, "CA"), (self.certificate, "certificate"), (self.key, "key")):
            if path is not None:
                _read(path, what)
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise AccessDenied(
                f"The TLS files cannot be used ({_ssl_reason(error)}): check STENOBUS_NATS_TLS_CA, "
                "STENOBUS_NATS_TLS_CERT and STENOBUS_NATS_TLS_KEY."
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def refusal(error: Exception, where: str) -> ServerUnavailable | None:
    """Why a server will not be talked to, however often one asks; None when it may only be away.

    Args:
        where: its address, without credentials.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        if "certificate has expired" in why or "not yet valid" in why:
            todo = "renew it, and check the clock"
        elif "mismatch" in why or "not valid for" in why:
            todo = "use a name that it holds in STENOBUS_NATS_URL"
        else:
            todo = "name the CA that signed it in STENOBUS_NATS_TLS_CA"
        return ServerUnavailable(f"The certificate of {where} is not trusted: {why.rstrip('.')}; {todo}.")
    if isinstance(error, ssl.SSLError):
        return ServerUnavailable(
            f"TLS with {where} failed ({_ssl_reason(error)}); check the STENOBUS_NATS_TLS_… files."
        )
    if isinstance(error, NotEncrypted):
        return ServerUnavailable(f"{where} offers no TLS; switch it on there, or use nats:// without TLS settings.")
    if "authorization violation" in str(error).lower():
        return AccessDenied(f"{where} does not know this user; name its credentials in STENOBUS_NATS_CREDS.")
    return None


def public_key(seed: bytes) -> str:
    """The public key of an nkey seed. Raises AccessDenied when it is none."""
    import nkeys  # only users with a key pay for its import

    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed))
        if nkeys.encode_seed(bytes(raw), prefix) != seed:
            raise ValueError("the checksum differs")  # the library does not look
        pair = nkeys.from_seed(bytearray(seed))
        public: bytes = pair.public_key
        pair.wipe()
    except Exception:  # whatever its base32 and checksum code says; the text may hold the seed
        raise AccessDenied(
            "The nkey seed is damaged; make a new one with `stenobus bus users --rotate NAME`."
        ) from None
    return public.decode()


def inbox(public: str) -> str:
    """Prefix of the inboxes that a user alone can listen to. It follows from the key, so nobody needs to be told."""
    return f"_INBOX_{public}"


def redacted(url: str) -> str:
    """A URL, or several separated by commas, without credentials."""
    return _CREDENTIALS.sub(r"\1", url)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccessDenied(f"The {what} file {path} cannot be read: {error.strerror}.") from error


def _ssl_reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)

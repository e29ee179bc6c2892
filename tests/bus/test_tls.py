"""Connections over TLS, to real servers with certificates of a CA that only the test knows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest

from stenobus_bus import Access, AccessDenied, Bus, ServerUnavailable
from stenobus_bus.access import redacted
from stenobus_testing.waiting import DEADLINE

from ..support.certificates import Authority
from ..support.servers import Server, nats_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


def tls(certificate: tuple[Path, Path], more: str = "") -> str:
    return f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}" {more} }}'


@pytest.fixture(scope="module")
def server(folder: Path, authority: Authority) -> Iterator[Server]:
    with nats_server(folder / "good", tls(authority.issue("good"))) as server:
        yield server


async def refused(url: str, access: Access) -> str:
    """The sentence that a connection fails with, and fails at once: such a server does not change its mind."""
    with pytest.raises(ServerUnavailable) as caught:
        async with asyncio.timeout(DEADLINE), await Bus.connect(url, access=access, timeout=300):
            pass
    return str(caught.value)


async def test_a_server_with_a_certificate_of_our_ca_is_trusted(server: Server, authority: Authority) -> None:
    async with await Bus.connect(server.url("tls", "localhost"), access=Access(ca=authority.certificate)) as bus:
        assert (await bus.api("INFO"))["streams"] == 0


async def test_a_certificate_of_a_stranger_is_refused(server: Server) -> None:
    said = await refused(server.url("tls", "localhost"), Access())
    assert "is not trusted" in said
    assert "STENOBUS_NATS_TLS_CA" in said


async def test_a_certificate_for_another_name_is_refused(server: Server, authority: Authority) -> None:
    said = await refused(server.url("tls", "127.0.0.1"), Access(ca=authority.certificate))
    assert "is not trusted" in said
    assert "use a name that it holds in STENOBUS_NATS_URL" in said


async def test_an_expired_certificate_is_refused(folder: Path, authority: Authority) -> None:
    with nats_server(folder / "expired", tls(authority.issue("expired", days=-1))) as server:
        said = await refused(server.url("tls", "localhost"), Access(ca=authority.certificate))
    assert "has expired; renew it, and check the clock" in said


async def test_a_server_may_ask_for_a_certificate_of_ours(folder: Path, authority: Authority) -> None:
    ours = authority.issue("client", host="client")
    mutual = tls(authority.issue("mutual"), f', ca_file: "{authority.certificate}", verify: true')
    with nats_server(folder / "mutual", mutual) as server:
        url = server.url("tls", "localhost")
        access = Access(ca=authority.certificate, certificate=ours[0], key=ours[1])
        async with await Bus.connect(url, access=access) as bus:
            assert bus.nc.is_connected
        with pytest.raises(ServerUnavailable):
            await Bus.connect(url, access=Access(ca=authority.certificate), timeout=1)


@pytest.mark.parametrize("by", ["the address", "a setting"])
async def test_credentials_never_go_to_a_server_that_ought_to_encrypt_and_does_not(
    folder: Path, authority: Authority, by: str
) -> None:
    with nats_server(folder / f"plain-{len(by)}", "authorization { user: talk, password: hush }") as server:
        url = server.url("tls" if by == "the address" else "nats", "talk:hush@localhost")
        access = Access() if by == "the address" else Access(ca=authority.certificate)
        said = await refused(url, access)
        assert "offers no TLS" in said
        assert "hush" not in said
        async with await Bus.connect(server.url("nats", "talk:hush@localhost")) as bus:
            assert bus.nc.is_connected


async def test_an_unknown_user_hears_so_at_once_and_no_secret_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    file = folder / "stranger.nk"
    file.write_text(f"# of nobody\n{seed}\n")
    with nats_server(folder / "users", "authorization { user: talk, password: hush }") as server:
        said = await refused(server.url(), Access(credentials=file))
        assert "does not know this user" in said
        assert "STENOBUS_NATS_CREDS" in said
        wrong = await refused(server.url("nats", "talk:secret-word@localhost"), Access())
    told = said + wrong + caplog.text + "".join(capfd.readouterr())
    assert seed not in told
    assert "secret-word" not in told


@pytest.mark.parametrize("content", [None, "", "SUSPICIOUS", "SU" + "A" * 56])
async def test_credentials_that_are_none_are_named_and_not_shown(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "mine.nk"
    if content is not None:
        file.write_text(content)
    with pytest.raises(AccessDenied) as caught:
        await Bus.connect("nats://127.0.0.1:1", access=Access(credentials=file))
    assert "SUAAAA" not in str(caught.value)


async def test_tls_files_that_are_none_are_named(tmp_path: Path) -> None:
    for content, wanted in ((None, "ca.pem cannot be read"), ("no certificate", "STENOBUS_NATS_TLS_CA")):
        if content:
            (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(AccessDenied, match=wanted):
            await Bus.connect("tls://127.0.0.1:1", access=Access(ca=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("tls://talk:hush@a:1,tls://talk:hush@b:2", "tls://a:1,tls://b:2"),
        ("talk:hush@a:1", "a:1"),
        ("nats://token@a", "nats://a"),
        ("nats://talk:hu,sh@a:1", "nats://a:1"),
        ("nats://talk:hu@sh@a:1", "nats://a:1"),
    ],
)
def test_an_address_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert redacted(url) == shown

"""Users of a NATS server as files: one key for each, and the configuration that tells the server what each may do.

The server's side holds public keys alone. A user's secret is in its own file, readable by its owner, and is never
printed, logged or passed on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from stenobus_bus.access import inbox, public_key

from .access import Permissions
from .errors import SettingsError

#: For nats-server: what each user may do.
USERS: Final = "users.conf"
#: A complete configuration to begin with; written once, and then the operator's own.
EXAMPLE: Final = "nats-server.conf"
#: What the next run goes on from: users and their rights, no secrets.
MANIFEST: Final = "users.json"
#: Folder of the users' secrets.
CREDENTIALS: Final = "credentials"

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")

_SERVER: Final = """\
# A server for Stenobus to begin with: change it as you like, it is not written again.
server_name: stenobus
listen: 127.0.0.1:4222

jetstream {
  store_dir: "./data"
  sync_interval: 10s
}

# Without TLS, whoever sits on the wire reads and changes everything. See docs/security.md.
# tls {
#   cert_file: "./server.pem"
#   key_file: "./server.key"
# }

include "./users.conf"
"""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody the server knows."""

    name: str
    role: str
    public: str
    permissions: Permissions

    def rendered(self) -> str:
        """The user in the server's configuration."""
        own = f"{inbox(self.public)}.>"
        rights: dict[str, Any] = {
            "publish": {"allow": [*self.permissions.publish]},
            "subscribe": {"allow": [*_without_all(self.permissions.subscribe, own)]},
        }
        if self.role in {"plugin", "all-in-one"}:
            rights["allow_responses"] = {"max": 1, "expires": "10s"}  # to `nats micro`, in whoever's inbox asks
        body = json.dumps({"nkey": self.public, "permissions": rights}, indent=2)
        return f"# {self.name}: {self.role}\n{body}"


class Users:
    """The users of one server, in a folder.

    Args:
        folder: made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users: dict[str, User] = {}

    @classmethod
    def open(cls, folder: Path) -> Users:
        """The users as an earlier run left them; none in a new folder.

        Raises:
            SettingsError: the folder cannot be used, or its manifest is no such thing.
        """
        users = cls(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CREDENTIALS).mkdir(exist_ok=True)
            (folder / CREDENTIALS).chmod(0o700)
            for entry in json.loads((folder / MANIFEST).read_text()):
                user = User(**{**entry, "permissions": Permissions(**_tuples(entry["permissions"]))})
                users._users[user.name] = user
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) else f"{MANIFEST} is damaged"
            raise SettingsError(f"The folder {folder} cannot be used: {why}.") from error
        return users

    def __iter__(self) -> Any:
        return iter(sorted(self._users.values(), key=lambda user: (user.role == "plugin", user.name)))

    def add(self, name: str, role: str, permissions: Permissions) -> None:
        """Let somebody in, or give somebody known other rights; the key stays.

        Raises:
            SettingsError: the name is no name, or belongs to a user of another role.
        """
        if not _NAME.fullmatch(name):
            raise SettingsError(f"The user name {name!r} must be lower-case letters, digits and hyphens.")
        known = self._users.get(name)
        if known is not None and known.role != role:
            raise SettingsError(f"There is a user {name} already, whose role is {known.role}; choose another name.")
        self._users[name] = User(name, role, self._key(name), permissions)

    def rotate(self, names: Collection[str]) -> None:
        """Give users new keys; the old ones are worth nothing once the server has read its configuration again.

        Raises:
            SettingsError: there is no such user.
        """
        for name in names:
            user = self._known(name)
            self._users[name] = User(name, user.role, self._new_key(name), user.permissions)

    def remove(self, names: Collection[str]) -> None:
        """Let users in no longer. Raises SettingsError when there is no such user."""
        for name in names:
            self._known(name)
            del self._users[name]
            self.credentials(name).unlink(missing_ok=True)

    def credentials(self, name: str) -> Path:
        """The file with a user's secret."""
        return self.folder / CREDENTIALS / f"{name}.nk"

    def write(self) -> None:
        """Write what the server reads. Raises SettingsError."""
        manifest = [asdict(user) for user in self]
        users = ",\n".join(user.rendered() for user in self)
        indented = "\n".join(f"    {line}" for line in users.splitlines())
        _write(self.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n", 0o644)
        _write(
            self.folder / USERS,
            f"# Written by `stenobus bus users`, which writes it anew each time.\n"
            f"authorization {{\n  users: [\n{indented}\n  ]\n}}\n",
            0o644,
        )
        if not (self.folder / EXAMPLE).exists():
            _write(self.folder / EXAMPLE, _SERVER, 0o644)

    def _known(self, name: str) -> User:
        if name not in self._users:
            raise SettingsError(f"There is no user {name}; known: {', '.join(sorted(self._users)) or 'none'}.")
        return self._users[name]

    def _key(self, name: str) -> str:
        """The public key of a user: of its secret when there is one, else of a new one."""
        try:
            return public_key(self.credentials(name).read_bytes().strip())
        except FileNotFoundError:
            return self._new_key(name)
        except OSError as error:
            raise SettingsError(f"{self.credentials(name)} cannot be read: {error.strerror}.") from error

    def _new_key(self, name: str) -> str:
        import nkeys

        seed: bytes = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        _write(self.credentials(name), seed.decode() + "\n", 0o600)
        return public_key(seed)


def _without_all(subjects: Collection[str], own: str) -> list[str]:
    """Subjects to subscribe; one who may hear everything needs no inbox of its own."""
    return [*subjects] if ">" in subjects else [own, *subjects]


def _tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in lists.items()}


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all, and never readable by more people than it should be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.") from error

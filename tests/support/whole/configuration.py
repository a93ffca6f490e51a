"""The configuration file, as an administrator changes it, and what it says."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final, final

SERVER: Final = "http://127.0.0.1:1"
FIRST_USER: Final = 1001


@dataclass(frozen=True, slots=True)
class Entry:
    """One profile. `users` None: everybody may use it."""

    account: int
    users: frozenset[int] | None = None
    refresh_before: int = 300
    client: str = "client"
    life: float = 0.0
    """`refresh_token_lifetime`, if it is said."""

    def allows(self, uid: int) -> bool:
        """Return whether a user may use it."""
        return self.users is None or uid in self.users or uid == 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a configuration says."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    default: str | None = None
    fleet: str = ""
    """The table of that name."""

    def named(self, name: str | None) -> str | None:
        """Return the profile that a call means which names this one, or none."""
        if name is None and len(self.entries) == 1:
            return self.default or next(iter(self.entries))
        return (self.default if name is None else name) or None

    def without(self, name: str) -> "Configuration":
        """Return it without a profile."""
        left = {each: entry for each, entry in self.entries.items() if each != name}
        return replace(self, entries=left)

    def text(self, directory: Path) -> str:
        """Return it as a file has it."""
        lines = [] if self.default is None else [f'default_profile = "{self.default}"']
        lines.append(self.fleet)
        for name, entry in self.entries.items():
            lines += [
                f"[profiles.{name}]",
                'environment = "custom"',
                f'id_server = "{SERVER}"',
                'api_url = "http://127.0.0.1:2"',
                f'client_id = "{entry.client}"',
                f'username = "user-{entry.account}"',
                f'password_file = "{directory}/password-{entry.account}"',
                f'refresh_before = "{entry.refresh_before}s"',
            ]
            if entry.life:
                lines.append(f'refresh_token_lifetime = "{entry.life:.0f}s"')
            if entry.users is not None:
                users = ", ".join(f'"u{uid}"' for uid in sorted(entry.users))
                lines.append(f"allow_users = [{users}]")
        return "\n".join(lines) + "\n"


def shared(profiles: int, refresh_before: int, fleet: str) -> Configuration:
    """Return the configuration of a fleet's host: its profiles differ in their client."""
    entries = {
        f"p{number}": Entry(0, None, refresh_before, f"client-{number}")
        for number in range(profiles)
    }
    return Configuration(entries, None, fleet)


@final
class Administrator:
    """Changes the configuration of a daemon that is alone by chance."""

    def __init__(self, rng: Random, accounts: int, users: int, life: float) -> None:
        self._rng = rng
        self._accounts = accounts
        self._life = life
        self._users = range(FIRST_USER, FIRST_USER + users)

    def first(self, profiles: int) -> Configuration:
        """Return a configuration to begin with."""
        entries = {f"p{number}": self._entry(number) for number in range(profiles)}
        return Configuration(entries, self._rng.choice([None, *entries]))

    def _entry(self, number: int | None = None) -> Entry:
        rng = self._rng
        account = rng.randrange(self._accounts) if number is None else number % self._accounts
        listed = rng.random() < 0.5
        users = frozenset(uid for uid in self._users if rng.random() < 0.5) if listed else None
        return Entry(account, users, rng.choice((300, 300, 4)), life=self._life)

    def moved(self, before: Configuration, name: str) -> Configuration:
        """Return the configuration in which a profile that is there is of another account."""
        entries = dict(before.entries)
        if name in entries:
            account = (entries[name].account + 1) % self._accounts
            entries[name] = replace(entries[name], account=account)
        return Configuration(entries, before.default)

    def changed(self, before: Configuration) -> Configuration:
        """Return another configuration: profiles move, come and go, and so do rights."""
        rng, entries = self._rng, dict(before.entries)
        names = list(entries)
        for _ in range(rng.choice((1, 1, 2, len(names)))):
            name = rng.choice(names)
            match rng.randrange(6):
                case 0:
                    entries[name] = replace(entries[name], account=rng.randrange(self._accounts))
                case 1:
                    entries[name] = replace(entries[name], users=self._entry().users)
                case 2:
                    other = rng.choice(names)
                    entries[name], entries[other] = entries[other], entries[name]
                case 3 if len(names) > 1:
                    del entries[name]
                    names = list(entries)
                case 4:
                    entries[f"p{rng.randrange(40)}"] = self._entry()
                case _:
                    entries[name] = replace(entries[name], refresh_before=rng.choice((300, 4)))
        default = before.default
        if default not in entries or rng.random() < 0.3:
            default = rng.choice([None, *entries])
        return Configuration(entries, default)


def put(path: Path, content: str) -> None:
    """Replace a file whole, for its owner alone."""
    new = path.with_name(f".{path.name}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    new.replace(path)

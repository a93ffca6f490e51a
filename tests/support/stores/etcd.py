"""A member of an etcd cluster, or one that is alone, as Debian installs it."""

import shutil
from base64 import b64encode
from typing import Final, Self

import httpx
import pytest

from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.engines.etcd import Etcd
from openfit_tokend.fleet.store import Password, Store
from ports import LOOPBACK, free_port
from stores.server import OWNER, PASSWORD, USER, StoreServer

_ROOT: Final = "root-secret"


class EtcdServer(StoreServer):
    """A member."""

    def __init__(self) -> None:
        if shutil.which("etcd") is None:
            pytest.skip("etcd isn't installed: apt-get install etcd-server")
        super().__init__()
        self.peer_url = f"http://{LOOPBACK}:{free_port()}"
        self.members: list[EtcdServer] = [self]
        self._token = ""

    @classmethod
    def cluster(cls, count: int) -> list[Self]:
        """Return the members of a new cluster, none of which is started."""
        members = [cls() for _ in range(count)]
        for each in members:
            each.members = list(members)
        return members

    def set_up(self) -> None:
        """Start it alone, and ask for passwords from now on."""
        self.start()
        self.protect()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.begin()
        self.await_answers()

    def begin(self) -> None:
        """Start it; it answers once most others run, too."""
        url = self._url
        cluster = ",".join(f"{each.name}={each.peer_url}" for each in self.members)
        options = {
            "name": self.name,
            "data-dir": str(self.directory / "data"),
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": cluster,
            "heartbeat-interval": "50",
            "election-timeout": "500",
            "bcrypt-cost": "4",
        }
        if self.certificate is not None:
            chain, key = self.certificate
            options |= {"cert-file": str(chain), "key-file": str(key)}
        self._begin("etcd", *(f"--{name}={value}" for name, value in options.items()))

    def protect(self) -> None:
        """Make the user, and switch authentication on."""
        self._post("auth/user/add", name="root", password=_ROOT)
        self._post("auth/user/grant", user="root", role="root")
        self._post("auth/user/add", name=USER, password=PASSWORD)
        self._post("auth/role/add", name=USER)
        self._post("auth/user/grant", user=USER, role=USER)
        self._enable()

    def end_connections(self) -> None:
        """Make clients begin anew: it forgets their tokens."""
        self._post("auth/disable")
        self._enable()

    def _enable(self) -> None:
        self._token = ""
        self._post("auth/enable")
        self._token = str(self._post("auth/authenticate", name="root", password=_ROOT)["token"])

    def make_table(self, table: str) -> None:
        """Let USER read and write below a prefix."""
        key, end = (b64encode(each.encode()).decode() for each in (f"{table}/", f"{table}0"))
        permission = {"permType": "READWRITE", "key": key, "range_end": end}
        self._post("auth/role/grant", name=USER, perm=permission)

    def refuse_writes(self, table: str) -> None:
        """Say that there is no space, as a member does whose quota is used up: for all tables."""
        del table
        self._post("maintenance/alarm", action="ACTIVATE", memberID="0", alarm="NOSPACE")

    def _client(
        self, table: str, hosts: tuple[Host, ...], ca_file: str | None, password: Password
    ) -> Store:
        place = EtcdPlace(
            hosts=hosts,
            tls=ca_file is not None,
            user=USER,
            table=table,
            ca_file=ca_file,
            loopback_user=OWNER,
        )
        return Etcd(place, password)

    @property
    def name(self) -> str:
        """Return its name in the cluster."""
        return self.directory.name

    @property
    def url(self) -> str:
        """Return the setting that names this server."""
        return f"etcd+http://{USER}@{self.host}"

    @property
    def _url(self) -> str:
        return f"{'http' if self.certificate is None else 'https'}://{self.host}"

    def _post(self, path: str, **message: object) -> dict[str, object]:
        headers = {"authorization": self._token} if self._token else {}
        with _web() as web:
            answer = web.post(f"{self._url}/v3/{path}", json=message, headers=headers)
        assert answer.status_code == 200, answer.text
        fields: dict[str, object] = answer.json()
        return fields

    def _answers(self) -> bool:
        try:
            with _web() as web:
                return bool(web.get(f"{self._url}/health").json()["health"] == "true")
        except (httpx.HTTPError, ValueError, KeyError):
            return False


def _web() -> httpx.Client:
    return httpx.Client(trust_env=False, verify=False, timeout=10)  # noqa: S501 -- loopback

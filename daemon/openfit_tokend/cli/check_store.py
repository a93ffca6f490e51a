"""`openfit-tokend check --network` in a fleet: could a daemon use its store?"""

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from openfit_token._cli.report import Report, Verdict, fail, ok, warn
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.settings.engines import StorePlace
from openfit_tokend.core.settings.values import Account, FleetSettings, Profile
from openfit_tokend.fleet import made
from openfit_tokend.fleet.judging import judge
from openfit_tokend.fleet.row_form import Keys, Unreadable
from openfit_tokend.fleet.store import Store, Unreached

MAX_SKEW: Final = 5.0
"""Seconds by which the clocks may differ without a warning. Each host compares its own with the store's;
so this alone does no harm, but members of etcd whose clocks differ do: see docs/fleet.md."""


async def check_store(
    passwords: Passwords, fleet: FleetSettings, profiles: Iterable[Profile], report: Report
) -> None:
    """Report on a fleet's store; of etcd on each member, since a daemon may come to any of them."""
    keys = Keys(await passwords.keys(fleet.key))
    password = None if fleet.password is None else partial(passwords.read, fleet.password)
    accounts = {profile.account for profile in profiles}
    verdicts = [
        await _verdict(place, made.store(place, password), keys, accounts)
        for place in fleet.store.checked()
    ]
    some_serve = any(each.kind != "FAIL" for each in verdicts)
    for each in verdicts:
        spared = each.kind == "FAIL" and each.status == os.EX_TEMPFAIL and some_serve
        report.say(replace(each, kind="WARN", status=0) if spared else each)


async def _verdict(
    place: StorePlace, store: Store, keys: Keys, accounts: Collection[Account]
) -> Verdict:
    where = ", ".join(map(str, place.hosts))
    try:
        found = await judge(store, keys, accounts)
    except Unreadable as error:
        return fail("store", error.message, error.hint, os.EX_CONFIG)
    except Unreached as error:
        return fail("store", error.message, error.hint, os.EX_TEMPFAIL)
    if abs(found.skew) > MAX_SKEW:
        apart = f"{abs(found.skew):.0f} s {'ahead of' if found.skew > 0 else 'behind'} this host's"
        return warn("store", f"{where}: its clock is {apart}", "timedatectl set-ntp true on both")
    many = "1 account" if len(accounts) == 1 else f"{len(accounts)} accounts"
    rows = "no row of them is there yet" if not found.rows else f"{found.rows} can be read"
    return ok("store", f"{where} serves {many}: {rows}")

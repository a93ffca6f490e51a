"""What a fleet needs, and may not be installed."""

from openfit_token.errors import ConfigRejected
from openfit_tokend.core.settings.engines import StorePlace
from openfit_tokend.host import package


def refuse_lacking(store: StorePlace) -> None:
    """Refuse a store for which a package isn't installed. May take long: it imports what there is.

    Raises:
        ConfigRejected: says what is missing, and the command that installs it.
    """
    try:
        from openfit_tokend.fleet import made  # noqa: PLC0415 -- few have a fleet

        made.store(store, None)
    except ImportError as error:
        raise ConfigRejected(
            f"a Python package for [fleet] is missing: {error.name or error}",
            f"run {package.again(store.extra)}",
        ) from None

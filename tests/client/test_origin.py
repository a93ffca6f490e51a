"""Where a token may be sent."""

import pytest

from openfit_token._shared.origin import Origins, origin, origin_of
from openfit_token.errors import ForeignOrigin

API = "https://api.openfit.care/base"


def goes(url: str, *named: str, api_url: str = API) -> bool:
    """Return whether a token goes there."""
    try:
        Origins(named).judge(origin_of(url), api_url)
    except ForeignOrigin:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://api.openfit.care/v1/me", True),
        ("https://API.openfit.care:443/", True),
        ("https://api.openfit.care:8443/", False),
        ("https://api.openfit.care./", False),
        ("https://api.openfit.care.example.org/", False),
        ("https://openfit.care/", False),
        ("https://x.api.openfit.care/", False),
        ("https://api.openfit.care@example.org/", False),
        ("http://api.openfit.care/", False),
        ("http://api.openfit.care:443/", False),
        ("http://127.0.0.1/", False),
    ],
)
def test_a_token_goes_to_its_apis_origin_alone(url: str, *, may: bool) -> None:
    assert goes(url) is may


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
        ("http://192.0.2.1:8080", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_http_will_do_on_loopback_alone_whatever_the_daemon_says(url: str, *, may: bool) -> None:
    assert goes(f"{url}/v1/me", api_url=url) is may


def test_a_program_may_name_more_origins() -> None:
    named = ("https://gateway.example.org", "http://127.0.0.1:9000/")

    assert goes("https://gateway.example.org/v1/me", *named)
    assert goes("http://127.0.0.1:9000/v1/me", *named)
    assert goes("https://api.openfit.care/v1/me", *named)
    assert not goes("https://gateway.example.org:8443/v1/me", *named)


@pytest.mark.parametrize(
    "url",
    [
        *("gateway.example.org", "h", "", "ftp://example.org", "https://", "https://a:99999"),
        *("http://gateway.example.org", "https://example.org/v1", "https://example.org?a=b"),
    ],
)
def test_what_is_no_origin_or_no_safe_one_can_not_be_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Origins([url])


@pytest.mark.parametrize("url", ["", "api.openfit.care", "https://[", "ftp://api.openfit.care"])
def test_where_the_daemon_names_no_url_only_what_the_program_names_will_do(url: str) -> None:
    assert not goes("https://api.openfit.care/", api_url=url)
    assert goes("https://api.openfit.care/", "https://api.openfit.care", api_url=url)


def test_the_error_says_where_the_token_is_for_and_what_to_do_but_not_what_was_asked() -> None:
    with pytest.raises(ForeignOrigin) as raised:
        Origins(()).judge(origin_of("https://u:secret@example.org:8443/path?key=secret"), API)

    assert raised.value.message == (
        "the token is for https://api.openfit.care, and this request goes to"
        " https://example.org:8443"
    )
    assert 'OpenFitAuth(origins=["https://example.org:8443"])' in (raised.value.hint or "")


def test_an_origin_is_the_same_however_its_parts_are_written() -> None:
    assert origin("HTTPS", "[::1]", None) == origin_of("https://[::1]:443/x")
    assert str(origin("https", "::1", 8443)) == "https://[::1]:8443"
    assert str(origin("https", "api.openfit.care", 443)) == "https://api.openfit.care"

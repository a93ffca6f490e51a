"""The configuration's rules, over tables as tomllib gives them."""

import datetime as dt
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.settings.parser import (
    CLIENT_SECRET_KEYS,
    PASSWORD_KEYS,
    PROFILE_KEYS,
    include_pattern,
    parse,
)
from openfit_tokend.core.settings.table import Fault, Source
from openfit_tokend.core.settings.values import (
    Account,
    ClientSecret,
    Identity,
    PasswordCommand,
    PasswordCredential,
    PasswordEnv,
    PasswordFile,
    PasswordKeyring,
    PasswordSource,
    Profile,
    Settings,
    TokenFile,
)

MAIN = "/etc/openfit-tokend/config.toml"
PROFILE: dict[str, object] = {"environment": "test", "client_id": "c", "username": "u"}
IDENTITY = Identity(
    "https://of-identity-internal.azurewebsites.net", "c", "OpenFitApi offline_access", "u"
)
SOURCES = (  # in messages
    "password_file, password_credential, password_command, password_env, password_keyring"
)


def source(path: str = MAIN, /, **table: object) -> Source:
    return Source(path, table)


def faults_of(main: Source, *included: Source) -> list[tuple[str, str]]:
    """Return the faults of files, each as key and text."""
    found = parse(main, included)
    assert isinstance(found, tuple)
    return [(".".join(fault.key), fault.text) for fault in found]


def faults(**changed: object) -> list[tuple[str, str]]:
    """Return the faults of a good profile with some keys set differently (None: left out)."""
    profile = {key: value for key, value in (PROFILE | changed).items() if value is not None}
    return [
        (key.removeprefix("profiles.main."), text)
        for key, text in faults_of(source(profiles={"main": profile}))
    ]


def top_faults(**keys: object) -> list[tuple[str, str]]:
    """Return the faults of top-level keys beside a good profile."""
    return faults_of(source(profiles={"main": PROFILE}, **keys))


def profile(**changed: object) -> Profile:
    """Return the parsed profile with some keys set differently."""
    settings = parse(source(profiles={"main": PROFILE | changed}))
    assert isinstance(settings, Settings), settings
    return settings.profiles["main"]


def test_a_small_configuration_gets_the_defaults() -> None:
    settings = parse(source(profiles={"main": PROFILE}))

    assert settings == Settings(
        profiles={
            "main": Profile(
                name="main",
                environment="test",
                identity=IDENTITY,
                api_url="https://of-api-internal.azurewebsites.net",
                policy=Policy(refresh_before=300.0, refresh_token_lifetime=30 * 86400.0),
            )
        }
    )


def test_every_key_is_taken() -> None:
    full: dict[str, object] = {
        "environment": "custom",
        "id_server": "https://id.example.org:8443/base/",
        "api_url": "https://api.example.org/",
        "client_id": "c",
        "client_secret_credential": "password_main.client",
        "client_auth": "post",
        "username": "Service@Example.org",
        "password_file": "main.password",
        "refresh_before": "90s",
        "refresh_token_lifetime": "30d",
        "scope": "OpenFitApi",
        "form": {"resource": "r", "acr_values": "tenant:a b"},
        "allow_users": ["alice"],
        "allow_groups": ["etl", "wheel"],
        "allow_units": ["nightly@*.service"],
        "token_file": "/run/tokens/main",
        "ca_file": "/etc/ca.pem",
        "notify_command": ["/usr/local/bin/page-me", "-v"],
    }
    others = {
        *(*PASSWORD_KEYS, "password_environment", "loopback_user", "token_url", "revocation_url"),
        *(*CLIENT_SECRET_KEYS, "client_secret_environment"),
    }
    assert full.keys() | others == set(PROFILE_KEYS)

    settings = parse(
        source(
            socket="/run/openfit-tokend/socket",
            socket_mode="0660",
            socket_group="openfit",
            default_profile="main",
            admin_groups=["openfit-admin", "wheel"],
            audit=False,
            include="conf.d/*.toml",
            profiles={"main": full},
        )
    )

    identity = Identity(
        "https://id.example.org:8443/base",
        "c",
        "OpenFitApi",
        "Service@Example.org",
        form=(("acr_values", "tenant:a b"), ("resource", "r")),
    )
    main = Profile(
        name="main",
        environment="custom",
        identity=identity,
        api_url="https://api.example.org",
        password=PasswordFile("/etc/openfit-tokend/main.password"),
        client_secret=ClientSecret(PasswordCredential("password_main.client"), "post"),
        ca_file="/etc/ca.pem",
        policy=Policy(90.0, 30 * 86400.0),
        allow_users=("alice",),
        allow_groups=("etl", "wheel"),
        allow_units=("nightly@*.service",),
        token_file=TokenFile("/run/tokens/main", None),
        notify_command=("/usr/local/bin/page-me", "-v"),
    )
    assert settings == Settings(
        profiles={"main": main},
        default_profile="main",
        socket="/run/openfit-tokend/socket",
        socket_mode=0o660,
        socket_group="openfit",
        admin_groups=("openfit-admin", "wheel"),
        audit=False,
    )
    assert main.account == Account("https://id.example.org:8443/base", "service@example.org")


def test_who_may_listen_is_named_where_the_token_server_is_reached_over_http() -> None:
    near = {"environment": "custom", "id_server": "http://[::1]", "api_url": "http://[::1]"}
    named = parse(source(profiles={"main": PROFILE | near | {"loopback_user": "www-data"}}))
    refused = parse(source(profiles={"main": PROFILE | {"loopback_user": "www-data"}}))
    wrong = parse(source(profiles={"main": PROFILE | near | {"loopback_user": -1}}))

    assert isinstance(named, Settings)
    assert named.profiles["main"].loopback_user == "www-data"
    assert isinstance(refused, tuple)
    assert [(fault.key[-1], fault.text) for fault in refused] == [
        (
            "loopback_user",
            "goes with an id_server that begins with http:// only: else its certificate says who it is",
        )
    ]
    assert isinstance(wrong, tuple)
    assert [fault.text for fault in wrong] == ["must be a user's name, or a uid"]


def test_production_has_the_vendors_addresses() -> None:
    main = profile(environment="production")

    assert main.identity.id_server == "https://ids.openfit.care"
    assert main.api_url == "https://api.openfit.care"


def test_all_faults_of_all_profiles_are_reported_at_once() -> None:
    main = source(profiles={"a": {"environment": "tset"}, "b": PROFILE | {"scope": 7}}, socket=1)

    assert faults_of(main) == [
        ("socket", 'must be text in quotes, such as "…", not a number'),
        ("profiles.a.environment", 'must be "production", "test" or "custom"'),
        (
            "profiles.a.client_id",
            'is missing: write client_id = "…", as given by OpenFIT\'s support',
        ),
        ("profiles.a.username", 'is missing: write username = "…", the name of the login'),
        ("profiles.b.scope", 'must be text in quotes, such as "…", not a number'),
    ]


def test_a_profile_without_an_environment_is_told_which_there_are() -> None:
    assert faults(environment=None) == [
        ("environment", 'is missing: write environment = "production", "test" or "custom"')
    ]


@pytest.mark.parametrize("value", ["prod", "Test", "", 1, True, ["test"]])
def test_an_environment_is_one_of_three(value: object) -> None:
    assert faults(environment=value) == [
        ("environment", 'must be "production", "test" or "custom"')
    ]


def test_a_custom_environment_needs_both_addresses() -> None:
    assert faults(environment="custom") == [
        ("id_server", 'is missing: write id_server = "https://…", the token server'),
        ("api_url", 'is missing: write api_url = "https://…", the API'),
    ]


def test_the_vendors_environments_take_no_addresses() -> None:
    text = 'goes with environment = "custom" only: "test" has its own'

    found = faults(id_server="https://a.example", api_url="https://b.example")

    assert found == [("id_server", text), ("api_url", text)]


FOREIGN: dict[str, object] = {"environment": "custom", "api_url": "https://api.example"}


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example/auth/realms/r/protocol/openid-connect/token",
        "https://host.example/o/token/",
        "https://host.example/tenant/oauth2/v2.0/token?p=B2C_1_ropc",
        "https://host.example/",
    ],
)
def test_a_token_url_is_used_as_it_is_written(url: str) -> None:
    main = profile(**FOREIGN, token_url=url)

    assert main.identity.token_url == url
    assert main.identity.scope == ""
    assert main.account == Account(url, "u")
    assert main.revokes_at is None
    revoked = profile(**FOREIGN, token_url=url, revocation_url="https://other.example/revoke/")
    assert revoked.revokes_at == "https://other.example/revoke/"


def test_a_token_url_with_openfits_path_is_openfits_server() -> None:
    """Else one account would have two ledgers, and a session would end by being spelled otherwise."""
    spelled = profile(**FOREIGN, token_url="https://id.example/connect/token", scope="s")
    named = profile(**FOREIGN, id_server="https://id.example", scope="s")

    assert spelled == named
    assert named.identity.token_url == "https://id.example/connect/token"
    assert named.revokes_at == "https://id.example/connect/revocation"


def test_a_custom_environment_has_one_token_server() -> None:
    two = faults(**FOREIGN, id_server="https://a.example", token_url="https://b.example/token")
    alone = faults(
        **FOREIGN, id_server="https://a.example", revocation_url="https://a.example/revoke"
    )

    assert two == [("id_server", "is one server too many: token_url is there already")]
    assert alone == [("revocation_url", "goes with token_url only")]


def test_a_default_token_server_gives_way_to_a_profiles_own_and_to_the_vendors() -> None:
    defaults = {
        **FOREIGN,
        "token_url": "https://a.example/token",
        "revocation_url": "https://a.example/r",
    }
    own = {
        "its": {},
        "named": {"id_server": "https://b.example"},
        "vendors": {"environment": "test"},
    }
    who = {"client_id": "c", "username": "u"}
    found = parse(source(defaults=defaults, profiles={name: who | own[name] for name in own}))

    assert isinstance(found, Settings), found
    asked = {
        name: (one.identity.token_url, one.revokes_at, one.identity.scope)
        for name, one in found.profiles.items()
    }
    vendors = "https://of-identity-internal.azurewebsites.net/connect"
    scope = "OpenFitApi offline_access"
    assert asked == {
        "its": ("https://a.example/token", "https://a.example/r", ""),
        "named": ("https://b.example/connect/token", "https://b.example/connect/revocation", scope),
        "vendors": (f"{vendors}/token", f"{vendors}/revocation", scope),
    }


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host.example/token", "must begin with https:// (http:// is for localhost"),
        ("https://host.example/token#a", "must be a URL without query and fragment (? and #)"),
        ("https://host.example/token?a#b", "must be a URL without fragment (#)"),
        ("https://host.example/token?a b", "must be a URL without fragment (#), whose query has"),
        ("https://u:p@host.example/token", "must be a URL without user and password"),
    ],
)
def test_a_token_url_that_no_request_could_use_is_refused(url: str, text: str) -> None:
    ((key, told),) = faults(**FOREIGN, token_url=url)

    assert key == "token_url"
    assert told.startswith(text)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("audience=a", "must be a table, not text"),
        ({"audience": 7}, 'field audience must be text in quotes, such as "…", not a number'),
        ({"audience": ""}, "field audience must not be empty"),
        ({"a b": "c"}, "must have names of letters, digits and . _ - only"),
        *(
            ({name: "x"}, f"must not have {name}: the daemon sends it, or other settings say it")
            for name in ("grant_type", "scope", "Password", "refresh_token", "client_secret")
        ),
    ],
)
def test_fields_of_a_form_are_plain_and_none_that_the_daemon_sends(form: object, text: str) -> None:
    assert faults(form=form) == [("form", text)]


def test_addresses_beside_a_faulty_environment_are_judged_by_themselves() -> None:
    assert faults(environment="x", id_server="ftp://a", api_url="https://b") == [
        ("environment", 'must be "production", "test" or "custom"'),
        ("id_server", "must be a URL that begins with https://"),
    ]


BAD_HOST = "must be a URL with a valid host, and a port from 1 to 65535 if any"
ONLY_LOOPBACK = "must begin with https:// (http:// is for localhost, 127.0.0.0/8 and ::1)"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ids.openfit.care", "must be a URL that begins with https://"),
        ("ftp://ids.openfit.care", "must be a URL that begins with https://"),
        ("http://ids.openfit.care", ONLY_LOOPBACK),
        ("http://localhost.example.org", ONLY_LOOPBACK),
        ("http://128.0.0.1", ONLY_LOOPBACK),
        ("http://[::2]", ONLY_LOOPBACK),
        ("https://user:pass@a.example", "must be a URL without user and password"),
        ("https://a.example/?x=1", "must be a URL without query and fragment (? and #)"),
        ("https://a.example?", "must be a URL without query and fragment (? and #)"),
        ("https://a.example/#x", "must be a URL without query and fragment (? and #)"),
        ("https://", BAD_HOST),
        ("https://:443", BAD_HOST),
        ("https://a b", BAD_HOST),
        ("https://-a.example", BAD_HOST),
        ("https://ü.example", BAD_HOST),
        ("https://a.example:", BAD_HOST),
        ("https://a.example:0", BAD_HOST),
        ("https://a.example:65536", BAD_HOST),
        ("https://a.example:port", BAD_HOST),
        ("https://[::1", BAD_HOST),
        ("https://[fe80::1%25eth0]", BAD_HOST),
        ("https://[v1.a]", BAD_HOST),
        ("https://a::b", BAD_HOST),
        ("https://a.example/b c", "must be a URL whose path has plain characters only"),
        ("https://a.example/\\b", "must be a URL whose path has plain characters only"),
        ("https://a.example/\n", "must not contain control or invisible characters"),
        ("", "must not be empty"),
        (f"https://a.example/{'x' * 2000}", "must not be longer than 2000 characters"),
        (8080, 'must be text in quotes, such as "…", not a number'),
    ],
)
def test_an_address_that_no_request_could_use_is_refused(url: object, text: str) -> None:
    found = faults(environment="custom", id_server=url, api_url="https://api.example")

    assert found == [("id_server", text)]


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("HTTPS://ID.Example.ORG/Base//", "https://id.example.org/Base"),
        ("https://id.example.org:443", "https://id.example.org"),
        ("http://localhost:5000/", "http://localhost:5000"),
        ("http://127.9.9.9:80", "http://127.9.9.9"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://my_host/a%20b", "https://my_host/a%20b"),
    ],
)
def test_an_address_is_brought_to_one_plain_form(url: str, plain: str) -> None:
    main = profile(environment="custom", id_server=url, api_url=url)

    assert (main.identity.id_server, main.api_url) == (plain, plain)


@pytest.mark.parametrize("key", ["client_id", "username"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "must not be empty"),
        (" ", "must not begin or end with a blank"),
        ("me ", "must not begin or end with a blank"),
        ("m" * 101, "must not be longer than 100 characters"),
        ("m\te", "must not contain control or invisible characters"),
        ("me\u200b", "must not contain control or invisible characters"),
        (True, 'must be text in quotes, such as "…", not true or false'),
        (1.5, 'must be text in quotes, such as "…", not a number'),
        (["me"], 'must be text in quotes, such as "…", not a list'),
        ({"me": 1}, 'must be text in quotes, such as "…", not a table'),
        (dt.date(2024, 1, 1), 'must be text in quotes, such as "…", not a date or time'),
    ],
)
def test_a_name_the_server_would_reject_is_refused(key: str, value: object, text: str) -> None:
    assert faults(**{key: value}) == [(key, text)]


def test_a_name_may_have_a_hundred_characters_of_any_script() -> None:
    assert profile(username="ü" * 100).identity.username == "ü" * 100


@pytest.mark.parametrize("scope", ["a  b", " a", 'a"b', "a\\b", "ä"])
def test_scopes_are_as_oauth_has_them(scope: str) -> None:
    text = 'must be scopes with one blank between them, such as "OpenFitApi"'

    assert faults(scope=scope) == [("scope", text)]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(2, 2.0), (2.5, 2.5), ("90s", 90.0), ("1.5m", 90.0), ("5m", 300.0), ("1d", 86400.0)],
)
def test_a_duration_is_seconds_or_text_with_a_unit(value: object, seconds: float) -> None:
    assert profile(refresh_before=value).policy.refresh_before == seconds


@pytest.mark.parametrize(
    "value",
    [
        0,
        0.5,
        -1,
        86401,
        "2d",
        "90",
        "5 m",
        "5M",
        "-5m",
        "",
        "m",
        "1h30m",
        "٣m",
        "1e3s",
        True,
        False,
        math.inf,
        math.nan,
        10**400,
        [],
        "9" * 5000 + "s",
    ],
)
def test_a_duration_out_of_reason_is_refused(value: object) -> None:
    text = 'must be from 2 s to 1 d: seconds as a number, or text such as "90s", "5m", "1h", "30d"'

    assert faults(refresh_before=value) == [("refresh_before", text)]


@pytest.mark.parametrize("value", [30, "59m", "3651d"])
def test_a_refresh_token_lives_an_hour_at_least(value: object) -> None:
    ((key, text),) = faults(refresh_token_lifetime=value)

    assert key == "refresh_token_lifetime"
    assert text.startswith("must be from 1 h to 3650 d: ")


@given(st.integers(2, 24), st.sampled_from("smh"))
def test_units_multiply(number: int, unit: str) -> None:
    expected = number * {"s": 1, "m": 60, "h": 3600}[unit]

    assert profile(refresh_before=f"{number}{unit}") == profile(refresh_before=expected)


@pytest.mark.parametrize(
    ("keys", "password"),
    [
        ({"password_file": "/a b"}, PasswordFile("/a b")),
        ({"password_file": "../a"}, PasswordFile("/etc/openfit-tokend/../a")),
        ({"password_credential": "main"}, PasswordCredential("main")),
        ({"password_command": ["/bin/cat", " "]}, PasswordCommand(("/bin/cat", " "))),
        ({"password_command": ["pass"]}, PasswordCommand(("pass",))),
        (
            {"password_command": ["op"], "password_environment": ["OP_SERVICE_ACCOUNT_TOKEN"]},
            PasswordCommand(("op",), ("OP_SERVICE_ACCOUNT_TOKEN",)),
        ),
        ({"password_env": "MAIN_2"}, PasswordEnv("MAIN_2")),
        ({"password_keyring": "openfit"}, PasswordKeyring("openfit", "u")),
        ({}, None),
    ],
)
def test_a_password_comes_from_one_source_or_none(
    keys: dict[str, object], password: PasswordSource | None
) -> None:
    assert profile(**keys).password == password


def test_a_second_source_of_the_password_is_one_too_many() -> None:
    text = "is one source too many: password_file is there already"

    found = faults(password_env="A", password_command=["x"], password_file="/a")

    assert found == [("password_command", text), ("password_env", text)]


def test_only_a_command_is_given_variables() -> None:
    text = "goes with password_command only"

    for source in ({}, {"password_env": "A"}, {"password_file": "/a"}):
        assert faults(password_environment=["B"], **source) == [("password_environment", text)]


def test_a_password_in_the_file_is_refused_and_never_repeated() -> None:
    assert faults(password="hunter2") == [
        ("password", f"a password doesn't belong in this file: use one of {SOURCES}")
    ]


def test_a_clients_secret_comes_from_the_same_sources_and_goes_into_a_header() -> None:
    main = profile(client_secret_keyring="openfit", client_id="our-client")

    assert main.client_secret == ClientSecret(PasswordKeyring("openfit", "our-client"), "basic")
    assert list(main.secrets) == [PasswordKeyring("openfit", "our-client")]
    assert faults(client_secret_file="/a", client_secret_env="A") == [
        ("client_secret_env", "is one source too many: client_secret_file is there already")
    ]
    assert faults(client_secret_environment=["A"]) == [
        ("client_secret_environment", "goes with client_secret_command only")
    ]


def test_how_a_client_proves_itself_is_one_of_two_ways_and_takes_a_secret() -> None:
    sources = ", ".join(CLIENT_SECRET_KEYS)

    assert faults(client_auth="post") == [("client_auth", f"goes with one of {sources} only")]
    assert faults(client_secret_env="A", client_auth=["mTLS"]) == [
        ("client_auth", 'must be "basic" or "post"')
    ]
    assert faults(client_secret="hunter2") == [
        ("client_secret", f"a secret doesn't belong in this file: use one of {sources}")
    ]


ARGV = 'must be a program and its arguments, such as ["pass", "show", "openfit"]'
CREDENTIAL = "must be the plain name of a credential, as in LoadCredential=NAME:FILE"
OWN_FILE = "must be the path of a file, without //, /./ and /../ in it"
VARIABLE = 'must be the name of an environment variable, such as "OPENFIT_PASSWORD"'


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("password_command", [], ARGV),
        ("password_command", "pass show", 'must be a list of texts, such as ["…"], not text'),
        ("password_command", ["pass", ""], "item 2 must not be empty"),
        (
            "password_command",
            [1],
            'item 1 must be text in quotes, such as "…", not a number',
        ),
        ("password_command", ["a"] * 101, "must not have more than 100 items"),
        (
            "password_command",
            ["bin/pass"],
            "must begin with an absolute path, or with a name to look up in $PATH",
        ),
        ("password_credential", "a/b", CREDENTIAL),
        ("password_credential", "..", CREDENTIAL),
        ("password_env", "A-B", VARIABLE),
        ("password_env", "A=B", VARIABLE),
        ("password_file", "~/secret", "must be written out: ~ is not expanded here"),
        ("ca_file", "~root/ca", "must be written out: ~ is not expanded here"),
        ("ca_file", "a\0b", "must not contain control or invisible characters"),
        ("password_keyring", "", "must not be empty"),
        ("notify_command", "page-me", 'must be a list of texts, such as ["…"], not text'),
        ("notify_command", [], ARGV),
        ("allow_users", "alice", 'must be a list of texts, such as ["…"], not text'),
        ("allow_groups", ["etl", ""], "item 2 must not be empty"),
        ("token_file", "/run/tokens/", OWN_FILE),
        ("token_file", "/run//token", OWN_FILE),
        ("token_file", "/run/../token", OWN_FILE),
        ("token_file", "./token", OWN_FILE),
        ("token_file", "/run/..", OWN_FILE),
        ("token_file", "/", OWN_FILE),
        ("token_file", "~/token", "must be written out: ~ is not expanded here"),
    ],
)
def test_a_source_that_can_not_work_is_refused(key: str, value: object, text: str) -> None:
    assert faults(**{key: value}) == [(key, text)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("VAULT_ADDR", 'must be a list of texts, such as ["…"], not text'),
        (["VAULT_ADDR", "VAULT_ADDR=x"], f"item 2 {VARIABLE}"),
        (["A"] * 101, "must not have more than 100 items"),
    ],
)
def test_what_a_command_keeps_is_named_by_variables(value: object, text: str) -> None:
    assert faults(password_command=["op"], password_environment=value) == [
        ("password_environment", text)
    ]


@pytest.mark.parametrize("path", ["/run/.hidden", "/run/..a/b..", "/a"])
def test_a_token_file_may_have_dots_in_its_names(path: str) -> None:
    assert profile(token_file=path).token_file == TokenFile(path)


def test_a_relative_token_file_begins_at_its_configuration() -> None:
    assert profile(token_file="a/b").token_file == TokenFile("/etc/openfit-tokend/a/b")


def test_two_profiles_never_share_a_token_file() -> None:
    two = {name: PROFILE | {"token_file": "/run/token"} for name in ("a", "b")}

    assert faults_of(source(profiles=two)) == [
        ("profiles.b.token_file", "is the file of profile a already")
    ]


@pytest.mark.parametrize(
    ("lists", "group"),
    [
        ({}, "openfit"),
        ({"allow_users": ["a"]}, None),
        ({"allow_users": []}, None),
        ({"allow_groups": []}, None),
        ({"allow_groups": ["etl"]}, "etl"),
        ({"allow_groups": ["etl", "etl"], "allow_users": []}, "etl"),
        ({"allow_groups": ["etl", "ops"]}, None),
        ({"allow_groups": ["etl"], "allow_users": ["a"]}, None),
    ],
)
def test_a_token_file_is_for_the_sockets_group_or_the_one_that_the_lists_name(
    lists: dict[str, object], group: str | None
) -> None:
    main = PROFILE | {"token_file": "/run/token"} | lists

    settings = parse(source(socket_group="openfit", profiles={"main": main}))

    assert isinstance(settings, Settings)
    assert settings.profiles["main"].token_file == TokenFile("/run/token", group)


def test_a_token_file_is_for_no_group_where_the_sockets_mode_keeps_it_out() -> None:
    main = PROFILE | {"token_file": "/run/token"}
    listed = main | {"token_file": "/run/other", "allow_groups": ["etl"]}
    profiles = {"main": main, "listed": listed}

    settings = parse(source(socket_group="openfit", socket_mode="0600", profiles=profiles))

    assert isinstance(settings, Settings)
    assert settings.profiles["main"].token_file == TokenFile("/run/token", None)
    assert settings.profiles["listed"].token_file == TokenFile("/run/other", "etl")


def test_an_empty_list_is_a_list() -> None:
    assert profile(allow_users=[]).allow_users == ()
    assert profile().allow_users is None


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    assert faults(user_name="x") == [("user_name", 'unknown key; did you mean "username"?')]
    assert top_faults(profile={}) == [("profile", 'unknown key; did you mean "profiles"?')]


def test_an_unknown_key_like_no_other_is_told_all_known_ones() -> None:
    known = (
        "admin_groups, audit, default_profile, defaults, fleet, http_socket, include, profiles, socket, socket_group,"
        " socket_mode"
    )

    assert top_faults(zzz=1) == [("zzz", f"unknown key; known here are {known}")]


def test_the_audit_is_on_unless_it_is_turned_off() -> None:
    assert isinstance(unchanged := parse(source(profiles={"main": PROFILE})), Settings)
    assert unchanged.audit
    assert top_faults(audit="false") == [
        ("audit", "must be true or false, without quotes, not text")
    ]


def test_a_table_in_a_profile_hints_at_names_with_a_dot() -> None:
    text = 'unknown table; a name with a dot in it needs quotes: "a.b"'

    assert faults(b=PROFILE) == [("b", text)]


def test_a_key_in_the_wrong_place_is_told_the_right_one() -> None:
    assert faults(socket="/a") == [
        ("socket", "belongs at the top of the main file, before its first [table]")
    ]
    assert top_faults(username="u", password="p", token_file="t") == [
        (key, "belongs in a profile, below [profiles.NAME]")
        for key in ("username", "password", "token_file")
    ]


@pytest.mark.parametrize("main", [source(), source(profiles={}), source(include="a/*.toml")])
def test_there_is_at_least_one_profile(main: Source) -> None:
    assert faults_of(main) == [("profiles", "at least one [profiles.NAME] table is needed")]


def test_profiles_are_tables() -> None:
    assert faults_of(source(profiles=[PROFILE])) == [("profiles", "must be a table, not a list")]
    assert faults_of(source(profiles={"a": "b"})) == [("profiles.a", "must be a table, not text")]


TOKEN_FILE_IN_DEFAULTS = "belongs in a profile, below [profiles.NAME]: each has a file of its own"
UNKNOWN_CLIENT_ID = 'unknown key; did you mean "client_id"?'
ENVIRONMENT = 'must be "production", "test" or "custom"'
PROFILE_NAME_RULE = (
    "a profile's name consists of A-Z a-z 0-9 _ . -, begins with a letter or digit,"
    " and has at most 64 characters"
)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 65])
def test_a_profiles_name_is_plain(name: str) -> None:
    assert faults_of(source(profiles={name: PROFILE})) == [
        (
            f"profiles.{name}",
            PROFILE_NAME_RULE,
        )
    ]


@pytest.mark.parametrize("name", ["a", "7", "a.b-C_d", "a" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    settings = parse(source(profiles={name: PROFILE}))

    assert isinstance(settings, Settings)
    assert list(settings.profiles) == [name]


def test_the_default_profile_exists() -> None:
    assert top_faults(default_profile="mian") == [
        ("default_profile", "must be one of the profiles: main")
    ]


def test_of_very_many_profiles_only_the_first_are_listed() -> None:
    profiles = {f"p{number}": PROFILE for number in range(11)}

    found = faults_of(source(default_profile="x", profiles=profiles))

    names = "p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, …"
    assert found == [("default_profile", f"must be one of the profiles: {names}")]


SOCKET_MODE = (
    'must be octal in quotes: "0600", "0660" or "0666"'
    " (connecting needs write access; execute permission has no meaning)"
)


@pytest.mark.parametrize("mode", ["0640", "0644", "0770", "0400", "0o660", "0888", "", "66", 0o660])
def test_a_socket_mode_that_helps_nobody_is_refused(mode: object) -> None:
    assert top_faults(socket_mode=mode) == [("socket_mode", SOCKET_MODE)]


@pytest.mark.parametrize(("mode", "bits"), [("0666", 0o666), ("660", 0o660), ("0620", 0o620)])
def test_a_socket_may_be_opened_to_others_on_purpose(mode: str, bits: int) -> None:
    settings = parse(source(socket_mode=mode, profiles={"main": PROFILE}))

    assert isinstance(settings, Settings)
    assert settings.socket_mode == bits


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("run/socket", "must be the absolute path of a socket file"),
        ("@abstract", "must be the absolute path of a socket file"),
        ("/run/", "must be the absolute path of a socket file"),
        (f"/{'ü' * 49}", "must not be longer than 98 bytes"),
    ],
)
def test_a_socket_has_an_absolute_path_that_the_system_takes(path: str, text: str) -> None:
    assert top_faults(socket=path) == [("socket", text)]


def test_the_longest_socket_path_has_98_bytes() -> None:
    settings = parse(source(socket="/" + "s" * 97, profiles={"main": PROFILE}))

    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("admin_groups", "wheel", 'must be a list of texts, such as ["…"], not text'),
        ("admin_groups", ["a", ""], "item 2 must not be empty"),
        ("socket_group", "", "must not be empty"),
        (
            "include",
            ["a.toml"],
            'must be text in quotes, such as "…", not a list',
        ),
        ("include", "conf.d/", 'must name files, such as "conf.d/*.toml", not a directory'),
        ("include", "*/a.toml", "must have its wildcards in the last part, after the last /"),
        ("include", "~/*.toml", "must be written out: ~ is not expanded here"),
    ],
)
def test_other_values_at_the_top_are_judged_too(key: str, value: object, text: str) -> None:
    assert top_faults(**{key: value}) == [(key, text)]


def test_only_what_the_system_gets_must_have_bytes_in_the_locale() -> None:
    """A directory whose name the locale doesn't know is spelled as Python spells it."""
    table: dict[str, object] = {
        "socket_group": "é",
        "profiles": {
            "main": PROFILE
            | {"username": "é", "password_keyring": "é", "ca_file": "é", "allow_users": ["é"]}
        },
        "fleet": {"store": "etcd://é", "member": "é", "key_file": "é"},
    }

    found = parse(Source("/etc/\udce9/config.toml", table, "ascii"))

    assert isinstance(found, tuple)
    assert {fault.key[-1] for fault in found if "this locale (ascii) lacks" in fault.text} == {
        *("socket_group", "ca_file", "allow_users", "key_file"),
    }
    assert isinstance(
        parse(
            Source(
                "/etc/\udce9/config.toml",
                {"profiles": {"main": PROFILE | {"ca_file": "a"}}},
                "ascii",
            )
        ),
        Settings,
    )


def test_an_include_pattern_is_given_only_if_it_is_sound() -> None:
    assert include_pattern(source(include="conf.d/*.toml")) == "conf.d/*.toml"
    assert include_pattern(source(include="*/*.toml")) is None
    assert include_pattern(source()) is None


def test_included_files_bring_profiles_and_paths_of_their_own() -> None:
    more = source("/srv/more.toml", profiles={"b": PROFILE | {"password_file": "b.password"}})

    settings = parse(source(profiles={"a": PROFILE}, default_profile="b"), [more])

    assert isinstance(settings, Settings)
    assert list(settings.profiles) == ["a", "b"]
    assert settings.profiles["b"].password == PasswordFile("/srv/b.password")


def test_profiles_share_the_defaults_and_each_may_say_otherwise() -> None:
    """A default is as if it stood in each profile, except that its path is the main file's."""
    shared: dict[str, object] = {
        "client_id": "c",
        "username": "u",
        "scope": "OpenFitApi",
        "ca_file": "ca.pem",
        "password_keyring": "openfit",
    }
    more = source("/srv/more.toml", profiles={"test": {"environment": "test", "scope": "other"}})

    settings = parse(
        source(defaults=shared, profiles={"live": {"environment": "production"}}), [more]
    )

    assert isinstance(settings, Settings), settings
    test = profile(**shared | {"scope": "other", "ca_file": "/etc/openfit-tokend/ca.pem"})
    assert settings.profiles["test"] == replace(test, name="test")
    assert settings.profiles["live"].identity == Identity(
        "https://ids.openfit.care", "c", "OpenFitApi", "u"
    )


@pytest.mark.parametrize(
    ("default", "own"),
    [
        ({"password_command": ["/a"], "password_environment": ["A"]}, {"password_env": "B"}),
        ({"password_env": "A"}, {"password_env": "B"}),
        ({"allow_users": ["alice"], "allow_groups": ["etl"]}, {"allow_groups": ["wheel"]}),
        ({"allow_groups": ["etl"]}, {"allow_users": ["alice"]}),
        (
            {"environment": "custom", "id_server": "http://[::1]", "api_url": "http://[::1]"}
            | {"loopback_user": "alice"},
            {"environment": "test"},
        ),
    ],
)
def test_what_a_profile_says_replaces_the_defaults_that_it_goes_without(
    default: dict[str, object], own: dict[str, object]
) -> None:
    settings = parse(source(defaults=default, profiles={"main": PROFILE | own}))

    assert isinstance(settings, Settings), settings
    assert settings.profiles["main"] == profile(**own)


def test_a_command_may_take_its_variables_from_the_profile() -> None:
    command = {"password_command": ["/bin/a"]}
    main = PROFILE | {"password_environment": ["A"]}

    settings = parse(source(defaults=command, profiles={"main": main}))

    assert isinstance(settings, Settings), settings
    assert settings.profiles["main"].password == PasswordCommand(("/bin/a",), ("A",))


@pytest.mark.parametrize(
    ("defaults", "found"),
    [
        ({"scope": ""}, [("defaults.scope", "must not be empty")]),
        ({"token_file": "/a/b"}, [("defaults.token_file", TOKEN_FILE_IN_DEFAULTS)]),
        ({"client_idd": "c"}, [("defaults.client_idd", UNKNOWN_CLIENT_ID)]),
        ({"environment": "prod"}, [("defaults.environment", ENVIRONMENT)]),
        (
            {"password_env": "A", "password_file": "b"},
            [("defaults.password_env", "is one source too many: password_file is there already")],
        ),
        ([], [("defaults", "must be a table, not a list")]),
    ],
)
def test_a_faulty_default_is_told_once_where_it_stands(
    defaults: object, found: list[tuple[str, str]]
) -> None:
    """Also if no profile takes it."""
    takes, leaves = PROFILE, PROFILE | {"scope": "other"}

    assert faults_of(source(defaults=defaults, profiles={"a": takes, "b": takes})) == found
    assert faults_of(source(defaults=defaults, profiles={"a": leaves})) == found


@pytest.mark.parametrize("key", PROFILE_KEYS)
def test_no_faulty_default_is_passed_over(key: str) -> None:
    """Without its fault an allow list would be none, and let everybody in."""
    faulty: object = [["nothing takes this"]]
    assert f"defaults.{key}" in dict(
        faults_of(source(defaults={key: faulty}, profiles={"a": PROFILE}))
    )


def test_what_neither_a_profile_nor_the_defaults_have_is_missing_in_the_profile() -> None:
    assert faults_of(
        source(defaults={"client_id": "c"}, profiles={"a": {"environment": "test"}})
    ) == [("profiles.a.username", 'is missing: write username = "…", the name of the login')]


def test_included_files_have_profiles_only() -> None:
    more = source("/srv/more.toml", socket="/a", username="u", zzz=1, defaults={})

    assert faults_of(source(profiles={"a": PROFILE}), more) == [
        ("socket", "belongs in the main file: an included one has only [profiles.NAME] tables"),
        ("username", "belongs in a profile, below [profiles.NAME]"),
        ("defaults", "belongs in the main file: an included one has only [profiles.NAME] tables"),
        ("zzz", "unknown key; known here are profiles"),
    ]


def test_a_profile_defined_twice_names_both_files_and_its_other_faults() -> None:
    more = source("/srv/more.toml", profiles={"main": PROFILE | {"scope": ""}})

    assert parse(source(profiles={"main": PROFILE}), [more]) == (
        Fault(
            "/srv/more.toml", ("profiles", "main"), f"is defined in {MAIN} too: keep one of them"
        ),
        Fault("/srv/more.toml", ("profiles", "main", "scope"), "must not be empty"),
    )


def test_what_an_unread_file_may_define_is_not_missed() -> None:
    main = source(default_profile="main", include="a.toml")

    assert isinstance(parse(main, complete=False), Settings)


WORDS = ("profiles", "main", "socket", "environment", "custom", "id_server", "client_id", "scope")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(WORDS)
    | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(WORDS), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text() | st.sampled_from(WORDS), VALUES))
def test_any_table_gives_settings_or_faults(table: dict[str, object]) -> None:
    found = parse(Source(MAIN, table))

    assert isinstance(found, Settings) or found

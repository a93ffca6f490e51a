"""Finding and reading the configuration, as its author meets it."""

import grp
import json
import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import needs_root
from openfit_token.errors import ConfigRejected
from openfit_tokend.config.config_file import MAX_SIZE, load, locate
from openfit_tokend.config.toml_lines import lines
from openfit_tokend.core.callers.rights import Allowed, Rights
from openfit_tokend.core.settings.values import PasswordFile
from others import group_of_others
from users import needs_account

PROFILE = 'environment = "test"\nclient_id = "c"\nusername = "u"\n'
MAIN = f"[profiles.main]\n{PROFILE}"
INVALID = 'Invalid value (column 5): text needs straight quotes, as in "text"'

needs_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def rejection(path: Path) -> list[str]:
    """Return the lines of the rejection, without the directory of the configuration."""
    with pytest.raises(ConfigRejected) as caught:
        load(path)
    assert caught.value.hint is None
    return caught.value.message.replace(f"{path.parent}/", "").split("\n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


class TestLocate:
    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OPENFIT_TOKEND_CONFIG", "CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)

    def test_the_option_comes_first(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("OPENFIT_TOKEND_CONFIG", "/env.toml")
        monkeypatch.chdir(tmp_path)

        assert locate("a.toml") == tmp_path / "a.toml"

    def test_the_variable_comes_before_systemds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENFIT_TOKEND_CONFIG", "/env.toml")
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/a")

        assert locate(None) == Path("/env.toml")

    def test_the_first_of_systemds_directories_counts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENFIT_TOKEND_CONFIG", "")
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/a:/etc/b")

        assert locate(None) == Path("/etc/a/config.toml")

    @needs_root
    def test_root_has_a_place_below_etc(self) -> None:
        assert locate(None) == Path("/etc/openfit-tokend/config.toml")

    @needs_user
    def test_a_user_has_a_place_of_their_own(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

        assert locate(None) == tmp_path / "openfit-tokend" / "config.toml"


def test_a_good_file_gives_settings(config: Path) -> None:
    write(config, MAIN + 'password_file = "secret"\n', 0o640)

    settings = load(config)

    assert settings.profiles["main"].password == PasswordFile(str(config.parent / "secret"))


def test_a_relative_path_is_taken_from_the_working_directory(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config, MAIN + 'ca_file = "ca.pem"\n')
    monkeypatch.chdir(config.parent)

    settings = load(Path("config.toml"))

    assert settings.profiles["main"].ca_file == str(config.parent / "ca.pem")


def test_a_windows_file_is_read_too(config: Path) -> None:
    write(config, b"\xef\xbb\xbf" + MAIN.replace("\n", "\r\n").encode())

    assert list(load(config).profiles) == ["main"]


def test_every_fault_stands_on_a_line_of_its_own_with_file_line_and_key(config: Path) -> None:
    write(
        config,
        """\
sockets = "/run/s"
socket_mode = 432
default_profile = "main"

[profiles.main] # the first
environment = "prodcution"
username = '''
me'''
refresh_before = "5 minutes"

[profiles."a b"]
environment = "test"
client_id = "c"
username = "u"
"pass\\u0077ord" = "hunter2"

[profiles]
second = {environment = "test", client_id = "c", username = "u", scope = 1}
""",
    )

    assert rejection(config) == [
        'config.toml:1: sockets: unknown key; did you mean "socket"?',
        (
            'config.toml:2: socket_mode: must be octal in quotes: "0600", "0660" or "0666"'
            " (connecting needs write access; execute permission has no meaning)"
        ),
        (
            "config.toml:5: profiles.main.client_id: is missing: write client_id = "
            '"…", as given by OpenFIT\'s support'
        ),
        'config.toml:6: profiles.main.environment: must be "production", "test" or "custom"',
        (
            "config.toml:9: profiles.main.refresh_before: must be from 2 s to 1 d: seconds as a number,"
            ' or text such as "90s", "5m", "1h", "30d"'
        ),
        (
            'config.toml:11: profiles."a b": a profile\'s name consists of A-Z a-z 0-9 _ . -,'
            " begins with a letter or digit, and has at most 64 characters"
        ),
        (
            'config.toml:15: profiles."a b".password: a password doesn\'t belong in this file: use one'
            " of password_file, password_credential, password_command, password_env, password_keyring"
        ),
        'config.toml:18: profiles.second.scope: must be text in quotes, such as "…", not a number',
    ]


def test_an_empty_file_lacks_a_profile(config: Path) -> None:
    write(config, "")

    assert rejection(config) == [
        "config.toml: profiles: at least one [profiles.NAME] table is needed"
    ]


def test_strange_keys_are_shown_escaped_and_cut(config: Path) -> None:
    write(config, f'"a\\u001b" = 1\n{"z" * 200} = 1\n{MAIN}')

    first, second = rejection(config)

    assert first.startswith('config.toml:1: "a\\u001b": unknown key; ')
    assert second.startswith(f"config.toml:2: {'z' * 80}: unknown key; ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = text\n", f"config.toml:2: is not valid TOML: {INVALID}"),
        ("a = 1\nb = “text”\n", f"config.toml:2: is not valid TOML: {INVALID}"),
        (
            "a = 1\na = 2\n",
            "config.toml:2: is not valid TOML: Cannot overwrite a value (column 6)",
        ),
        (
            f"{MAIN}{MAIN}",
            (
                "config.toml:5: is not valid TOML:"
                " Cannot declare ('profiles', 'main') twice (column 15)"
            ),
        ),
    ],
)
def test_faulty_toml_is_told_with_its_line(config: Path, text: str, line: str) -> None:
    write(config, text)

    assert rejection(config) == [line]


def test_toml_that_ends_too_early_is_told_so(config: Path) -> None:
    write(config, "a = [1")

    (line,) = rejection(config)

    assert line.startswith("config.toml: is not valid TOML: Unclosed array (at end of document)")


def test_toml_that_is_nested_without_end_is_refused(config: Path) -> None:
    write(config, "a = " + "[" * 100_000)

    (line,) = rejection(config)

    assert line.startswith("config.toml: is nested too deeply: ")


def test_a_number_of_thousands_of_digits_is_refused(config: Path) -> None:
    write(config, f"a = {'9' * 5000}")

    (line,) = rejection(config)

    assert line.startswith("config.toml: is not valid TOML: Exceeds the limit")


def test_a_file_in_another_encoding_is_told_with_its_line(config: Path) -> None:
    write(config, MAIN.encode() + b'scope = "\xfc"\n')

    assert rejection(config) == ["config.toml:5: is not UTF-8: save it with this encoding"]


def test_an_absent_file_is_told_with_its_path(config: Path) -> None:
    assert rejection(config) == ["config.toml: does not exist: create it, or correct the path"]


def test_and_with_what_writes_one_where_that_would_write_it(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFIT_TOKEND_CONFIG", str(config))

    with pytest.raises(ConfigRejected) as caught:
        load(config)

    assert caught.value.hint == "openfit-tokend init writes one"
    assert caught.value.exit_status == 78


def test_a_path_through_a_file_is_told_so(config: Path) -> None:
    write(config, MAIN)

    (line,) = rejection(config / "config.toml")

    assert line.endswith("can't be read: Not a directory: look at the path")


def test_a_directory_is_no_configuration(config: Path) -> None:
    config.mkdir()

    assert rejection(config) == ["config.toml: is a directory: name a file"]


def test_a_fifo_is_refused_and_not_waited_for(config: Path) -> None:
    os.mkfifo(config)

    assert rejection(config) == [
        "config.toml: is not a regular file: name a file, not a pipe or device"
    ]


def test_a_file_beyond_a_mebibyte_is_refused(config: Path) -> None:
    write(config, b"#" * (MAX_SIZE + 1))

    assert rejection(config) == [
        "config.toml: is larger than 1048576 bytes: check that it is the right file"
    ]


def test_a_file_that_everybody_may_write_is_refused(config: Path) -> None:
    write(config, MAIN, 0o602)

    assert rejection(config) == [
        "config.toml: can be written by everybody (mode 0602): chmod go-w config.toml",
    ]


def test_a_directory_that_a_group_may_write_to_is_refused(config: Path) -> None:
    write(config, MAIN)
    directory = config.parent
    os.chown(directory, -1, group_of_others())
    directory.chmod(0o2775)

    with pytest.raises(ConfigRejected) as caught:
        load(config)

    assert caught.value.message.startswith(
        f"{config}: is reached through {directory}, which can be written by the group "
    )
    assert caught.value.message.endswith(f" (mode 2775): chmod go-w {directory}")


def test_the_directory_of_included_files_is_judged_too(config: Path) -> None:
    write(config, f'include = "conf.d/*.toml"\n{MAIN}')
    (config.parent / "conf.d").mkdir()
    write(config.parent / "conf.d/more.toml", "")
    (config.parent / "conf.d").chmod(0o777)

    (line,) = rejection(config)

    assert line.startswith("conf.d/more.toml: is reached through ")
    assert "conf.d, which can be written by everybody (mode 0777): chmod go-w " in line


@needs_user
@needs_account
def test_a_file_that_may_not_be_read_is_refused(config: Path) -> None:
    write(config, MAIN, 0o200)
    me = pwd.getpwuid(os.geteuid()).pw_name

    assert rejection(config) == [
        (
            "config.toml: can't be read by the daemon:"
            f" let the user {me} read it, and search its directories"
        )
    ]


class TestIncluded:
    def test_files_are_read_in_the_order_of_their_names(self, config: Path) -> None:
        write(config, f'include = "conf.d/*.toml"\n{MAIN}')
        for name in ("b.toml", "a.toml", ".hidden.toml", "c.toml~"):
            write(config.parent / "conf.d" / name, f'[profiles."{name}"]\n{PROFILE}')

        settings = load(config)

        assert list(settings.profiles) == ["main", "a.toml", "b.toml"]

    def test_the_main_file_does_not_include_itself(self, config: Path) -> None:
        write(config, f'include = "*.toml"\n{MAIN}')
        write(config.parent / "more.toml", f"[profiles.more]\n{PROFILE}")

        assert list(load(config).profiles) == ["main", "more"]

    def test_the_faults_of_all_files_are_reported(self, config: Path) -> None:
        write(config, f'include = "conf.d/*.toml"\ndefault_profile = "d"\n{MAIN}scope = 1')
        write(config.parent / "conf.d" / "a.toml", f"\n[profiles.main]\n{PROFILE}")
        write(config.parent / "conf.d" / "b.toml", f'include = "x"\n[profiles.b]\n{PROFILE}x = 1')
        write(config.parent / "conf.d" / "c.toml", "[profiles.c")
        (config.parent / "conf.d" / "d.toml").mkdir()

        assert [line.split(" known here ")[0] for line in rejection(config)] == [
            'config.toml:7: profiles.main.scope: must be text in quotes, such as "…", not a number',
            "conf.d/a.toml:2: profiles.main: is defined in config.toml too: keep one of them",
            (
                "conf.d/b.toml:1: include: belongs in the main file:"
                " an included one has only [profiles.NAME] tables"
            ),
            "conf.d/b.toml:6: profiles.b.x: unknown key;",
            (
                "conf.d/c.toml: is not valid TOML: Expected ']' at the end of a table declaration"
                " (at end of document)"
            ),
            "conf.d/d.toml: is a directory: name a file",
        ]

    def test_the_defaults_hold_for_included_profiles_and_have_their_own_lines(
        self, config: Path
    ) -> None:
        defaults = '[defaults]\nclient_id = "d"\nallow_groups = ["nobody-has-it"]\n'
        write(config, f'include = "conf.d/*.toml"\n{defaults}scope = ""\n')
        included = '[profiles.a]\nenvironment = "test"\nusername = "u"\n'
        write(config.parent / "conf.d" / "a.toml", included)

        unknown = "config.toml:4: defaults.allow_groups: there is no group nobody-has-it:"
        assert rejection(config) == [
            f"{unknown} add it, or take it out",
            "config.toml:5: defaults.scope: must not be empty",
        ]
        write(config, config.read_text().replace('scope = ""', ""))
        settings = load(config)
        assert settings.profiles["a"].identity.client_id == "d"
        assert settings.rights.allowed == {"a": Allowed()}

    def test_a_file_named_without_wildcards_must_exist(self, config: Path) -> None:
        write(config, f'include = "more.toml"\n{MAIN}')

        assert rejection(config) == ["more.toml: does not exist: create it, or correct the path"]

    def test_an_absent_directory_does_not_silently_drop_its_profiles(self, config: Path) -> None:
        write(config, f'include = "conf.d/*.toml"\n{MAIN}')

        assert rejection(config) == [
            (
                "config.toml:1: include: the directory conf.d can't be read"
                " (No such file or directory): create it, or take this key out"
            )
        ]

    def test_an_empty_directory_is_fine(self, config: Path) -> None:
        write(config, f'include = "conf.d/*.toml"\n{MAIN}')
        (config.parent / "conf.d").mkdir()

        assert list(load(config).profiles) == ["main"]

    def test_an_included_file_that_everybody_may_write_is_refused(self, config: Path) -> None:
        write(config, f'include = "more.toml"\n{MAIN}')
        write(config.parent / "more.toml", "", 0o666)

        assert rejection(config) == [
            "more.toml: can be written by everybody (mode 0666): chmod go-w more.toml"
        ]

    def test_very_many_files_are_refused(self, config: Path) -> None:
        write(config, f'include = "conf.d/*"\n{MAIN}')
        (config.parent / "conf.d").mkdir()
        for number in range(4097):
            (config.parent / "conf.d" / str(number)).touch()

        assert rejection(config) == [
            "config.toml:1: include: more than 4096 files match: put several profiles into a file"
        ]


def test_a_thousand_faulty_profiles_are_all_reported(config: Path) -> None:
    write(config, "".join(f"[profiles.p{n}]\n{PROFILE}user = 1\n" for n in range(1000)))

    found = rejection(config)

    assert len(found) == 1000
    assert (
        found[-1] == 'config.toml:5000: profiles.p999.user: unknown key; did you mean "username"?'
    )


class TestLines:
    def test_values_over_several_lines_are_passed_over(self) -> None:
        text = (
            'a = """\n[x]\n b = 1 \\""" # "\n""""\n'
            "b = '''\n[y]''''\n"
            'c = [ # [\n  "]", \'"\',\n  {d = "]"},\n]\n'
            "# [z]\n"
            "e.f = 1\n"
            "  [ t . 'u.v' ] # '\n"
            "\tg = '\"' # \"\n"
            "[[w]]\n"
            "h = 1\n"
            "[[w]]\n"
            "h = 2\n"
        )

        assert lines(text) == {
            ("a",): 1,
            ("b",): 5,
            ("c",): 7,
            ("e",): 12,
            ("e", "f"): 12,
            ("t",): 13,
            ("t", "u.v"): 13,
            ("t", "u.v", "g"): 14,
            ("w",): 15,
            ("w", "h"): 16,
        }

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), unique=True))
    def test_any_quoted_key_is_found(self, keys: list[str]) -> None:
        text = "".join(f'{json.dumps(key, ensure_ascii=False)} = "["\n' for key in keys)

        assert lines(text) == {(key,): number for number, key in enumerate(keys, 1)}


NAMES = """\
admin_groups = ["nobody-has-it", "{group}"]
include = "more.toml"

[profiles.a]
environment = "test"
client_id = "c"
username = "u"
scope = 1
allow_users = ["{user}", "nobody-is-it"]
"""


@needs_account
def test_users_and_groups_that_nobody_knows_are_named_beside_all_other_faults(config: Path) -> None:
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    more = MAIN.replace("profiles.main", "profiles.b") + 'allow_groups = ["nobody-has-it"]\n'
    write(config, NAMES.format(user=user, group=group))
    write(config.parent / "more.toml", more)

    last = len(more.splitlines())
    assert rejection(config) == [
        "config.toml:1: admin_groups: there is no group nobody-has-it: add it, or take it out",
        'config.toml:8: profiles.a.scope: must be text in quotes, such as "…", not a number',
        "config.toml:9: profiles.a.allow_users: there is no user nobody-is-it: add it, or take it out",
        (
            f"more.toml:{last}: profiles.b.allow_groups: there is no group nobody-has-it:"
            " add it, or take it out"
        ),
    ]


@needs_account
def test_the_names_come_with_their_ids(config: Path) -> None:
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    lists = f'allow_users = ["{user}"]\nallow_groups = ["{group}"]\n'
    write(config, f'admin_groups = ["{group}"]\n{MAIN}{lists}')

    assert load(config).rights == Rights(
        frozenset({os.getegid()}),
        {"main": Allowed(frozenset({os.geteuid()}), frozenset({os.getegid()}))},
    )


def test_a_name_that_is_gone_lets_nobody_in_and_refuses_nothing(config: Path) -> None:
    write(config, f'{MAIN}allow_users = ["gone"]\n')

    settings, last = load(config), len(MAIN.splitlines()) + 1

    assert settings.rights == Rights(frozenset(), {"main": Allowed()})  # and not everybody
    assert [line.rpartition("/")[2] for line in settings.unknown_names] == [
        f"config.toml:{last}: profiles.main.allow_users: there is no user gone: add it, or take it out",
    ]

"""Where passwords come from: real files, real variables, real commands."""

import grp
import os
import pwd
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from daemons import NOBODY, needs_root
from hung_disk import hung_disk
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.password_command import output_of
from openfit_tokend.config.passwords import Passwords, take_variables
from openfit_tokend.core.settings.values import (
    PasswordCommand,
    PasswordCredential,
    PasswordEnv,
    PasswordFile,
    PasswordSource,
)
from openfit_tokend.host import child_process
from openfit_tokend.host.child_process import Commands
from openfit_tokend.host.regular_file import Unusable
from users import account, being, give_acl, needs_account

ALIEN = 54321
"""A user and group that nobody is."""

CONTROL = "has a control character in it, such as a line break"
ALONE = "store the password alone, as one line of plain UTF-8 text"
WINDOWS = "ends with a carriage return (\\r): it was saved with Windows line endings"

needs_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def open_secret() -> Iterator[Path]:
    """A secret that its group can read, where all users can look for it."""
    with TemporaryDirectory(prefix="oft-") as name:
        Path(name).chmod(0o755)
        path = Path(name) / "secret"
        path.write_text("hunter2\n")
        path.chmod(0o640)
        yield path


def change(path: Path, content: bytes | None = None, mode: int | None = None) -> None:
    """Change a file: here, as an async test may not touch the disk."""
    if content is not None:
        path.write_bytes(content)
    if mode is not None:
        path.chmod(mode)


async def read_password(source: PasswordSource | None) -> Secret:
    return await Passwords().read(source)


async def refusal(source: PasswordSource | None) -> tuple[str, str | None]:
    """Return message and hint of the error."""
    with pytest.raises(SecretUnavailable) as caught:
        await read_password(source)
    assert "hunter2" not in str(caught.value)
    return caught.value.message, caught.value.hint


def python(code: str) -> PasswordCommand:
    return PasswordCommand((sys.executable, "-I", "-c", code))


def shell(code: str) -> PasswordCommand:
    return PasswordCommand(("/bin/sh", "-c", code))


async def test_a_profile_without_a_stored_password_is_told_how_to_log_in() -> None:
    assert await refusal(None) == (
        "no password is stored for this profile",
        (
            "an operator logs in, again after each reboot: openfit-token login --ask --profile {profile},"
            " or --refresh-token instead of --ask"
        ),
    )


async def test_a_clients_secret_is_read_like_a_password_and_may_be_longer(tmp_path: Path) -> None:
    file = tmp_path / "client"
    file.touch(mode=0o600)
    source = PasswordFile(str(file))
    change(file, b"s" * 1000 + b"\n")

    assert await Passwords().read(source, "client_secret") == Secret("s" * 1000)
    for content, fault in ((b"s" * 1001, "is longer than 1000 characters"), (b"", "is empty")):
        change(file, content)
        with pytest.raises(SecretUnavailable, match=f"^client_secret_file {file}: {fault}"):
            await Passwords().read(source, "client_secret")


class TestFile:
    @pytest.mark.parametrize(
        ("content", "password"),
        [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            (" hunter2 \n", " hunter2 "),
            ("ü" * 100 + "\n", "ü" * 100),
        ],
    )
    async def test_one_newline_at_the_end_is_cut_off_and_nothing_else(
        self, secret: Path, content: str, password: str
    ) -> None:
        change(secret, content.encode())

        assert await read_password(PasswordFile(str(secret))) == Secret(password)

    async def test_a_changed_file_is_used_the_next_time(self, secret: Path) -> None:
        source = PasswordFile(str(secret))
        await read_password(source)
        change(secret, b"changed")

        assert await read_password(source) == Secret("changed")

    async def test_a_symlink_is_followed_and_its_target_judged(
        self, secret: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "link"
        link.symlink_to(secret)

        assert await read_password(PasswordFile(str(link))) == Secret("hunter2")

        change(secret, mode=0o604)
        message, _ = await refusal(PasswordFile(str(link)))
        assert message == (f"password_file {link}: everybody may read or write it (mode 0604)")

    @pytest.mark.parametrize(
        ("content", "reason", "hint"),
        [
            (b"", "is empty", "put the password there"),
            (b"\n", "is empty", "put the password there"),
            (
                b"x" * 101,
                "is longer than 100 characters, which the server refuses",
                "make sure that nothing but the password is there",
            ),
            (b"x\0", CONTROL, ALONE),
            (b"two\nlines\n", CONTROL, ALONE),
            (b"x\n\n", CONTROL, ALONE),
            (b"\tx", CONTROL, ALONE),
            (b"x\x7f", CONTROL, ALONE),
            ("x\x85".encode(), CONTROL, ALONE),
            (
                b"x\r\n",
                WINDOWS,
                "save it with Unix line endings, for example: sed -i 's/\\r$//' FILE",
            ),
            (
                b"\xef\xbb\xbfx\n",
                "begins with a byte order mark",
                "save it as UTF-8 without BOM",
            ),
            (b"\xfc", "is not UTF-8", "save it with this encoding"),
            (b"x" * 4097, "is larger than 4096 bytes", "check that it is the right file"),
        ],
    )
    async def test_what_no_server_would_take_is_refused_here(
        self, secret: Path, content: bytes, reason: str, hint: str
    ) -> None:
        change(secret, content)

        assert await refusal(PasswordFile(str(secret))) == (
            f"password_file {secret}: {reason}",
            hint,
        )

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
    async def test_a_file_that_others_may_read_or_write_is_refused(
        self, secret: Path, mode: int
    ) -> None:
        change(secret, mode=mode)

        assert await refusal(PasswordFile(str(secret))) == (
            f"password_file {secret}: everybody may read or write it (mode {mode:04o})",
            f"chmod 600 {secret}",
        )

    @needs_root
    @pytest.mark.parametrize("kept_by", ["root", "itself"])
    async def test_the_private_group_of_the_daemons_user_may_read_it(
        self, open_secret: Path, kept_by: str
    ) -> None:
        with account("--user-group") as user:
            os.chown(open_secret, 0 if kept_by == "root" else user.pw_uid, user.pw_gid)
            with being(user.pw_uid, gid=user.pw_gid):
                password = await read_password(PasswordFile(str(open_secret)))

        assert password == Secret("hunter2")

    @needs_root
    @pytest.mark.parametrize("setting", ["password_file", "key_file"])
    async def test_a_primary_group_that_others_have_may_not_read_it(
        self, open_secret: Path, setting: str
    ) -> None:
        read = Passwords().keys if setting == "key_file" else Passwords().read
        with account("--gid", "users") as user:
            os.chown(open_secret, user.pw_uid, user.pw_gid)
            with being(user.pw_uid, gid=user.pw_gid), pytest.raises(SecretUnavailable) as caught:
                await read(PasswordFile(str(open_secret)))

        assert (caught.value.message, caught.value.hint) == (
            f"{setting} {open_secret}: the group users may read or write it (mode 0640)",
            f"chmod 600 {open_secret}",
        )

    @needs_root
    async def test_what_root_keeps_for_such_a_group_is_given_to_the_daemon(
        self, open_secret: Path
    ) -> None:
        with account("--gid", "users") as user:
            os.chown(open_secret, 0, user.pw_gid)
            with being(user.pw_uid, gid=user.pw_gid):
                _, hint = await refusal(PasswordFile(str(open_secret)))

        assert hint == f"chown {user.pw_name} {open_secret} && chmod 600 {open_secret}"

    @needs_root
    async def test_nor_may_those_whom_its_access_control_list_names(
        self, open_secret: Path, tmp_path: Path
    ) -> None:
        """Also through a link, which has none."""
        give_acl(open_secret, ALIEN, 4)
        (tmp_path / "link").symlink_to(open_secret)

        assert await refusal(PasswordFile(f"{tmp_path}/link")) == (
            (
                f"password_file {tmp_path}/link: those whom its access control list names may read"
                " or write it (mode 0640)"
            ),
            f"chmod 600 {tmp_path}/link",
        )

    @needs_root
    async def test_another_group_may_not_read_it(self, secret: Path) -> None:
        os.chown(secret, -1, ALIEN)
        change(secret, mode=0o640)

        assert await refusal(PasswordFile(str(secret))) == (
            (f"password_file {secret}: the group {ALIEN} may read or write it (mode 0640)"),
            f"chmod 600 {secret}",
        )

    @needs_user
    @needs_account
    async def test_what_root_owns_is_given_to_the_daemons_group_or_to_the_daemon(self) -> None:
        """A group that others may be in, such as nogroup, doesn't get it."""
        path, group = "/etc/passwd", grp.getgrgid(os.getegid()).gr_name
        user = pwd.getpwuid(os.geteuid()).pw_name

        message, hint = await refusal(PasswordFile(path))

        assert message.startswith(f"password_file {path}: everybody may read")
        if group == user:
            assert hint == f"chgrp {group} {path} && chmod 640 {path}"
        else:
            assert hint == f"chown {user} {path} && chmod 600 {path}"

    @needs_root
    async def test_another_users_file_is_refused(self, secret: Path) -> None:
        os.chown(secret, ALIEN, -1)

        assert await refusal(PasswordFile(str(secret))) == (
            f"password_file {secret}: belongs to {ALIEN}, not to root",
            f"chown root {secret}, or use a path in a directory of your own",
        )

    async def test_one_that_others_could_replace_is_refused(
        self, secret: Path, tmp_path: Path
    ) -> None:
        change(tmp_path, mode=0o777)

        assert await refusal(PasswordFile(str(secret))) == (
            (
                f"password_file {secret}: is reached through {tmp_path},"
                " which can be written by everybody (mode 0777)"
            ),
            f"chmod go-w {tmp_path}",
        )

    @needs_user
    async def test_a_file_the_daemon_may_not_read_is_told_so(self, secret: Path) -> None:
        change(secret, mode=0)

        message, _ = await refusal(PasswordFile(str(secret)))

        assert message == f"password_file {secret}: can't be read by the daemon"

    async def test_an_absent_file_is_told_so(self, tmp_path: Path) -> None:
        assert await refusal(PasswordFile(f"{tmp_path}/none")) == (
            f"password_file {tmp_path}/none: does not exist",
            "create it, or correct the path",
        )

    async def test_a_directory_is_no_secret(self, tmp_path: Path) -> None:
        assert await refusal(PasswordFile(str(tmp_path))) == (
            f"password_file {tmp_path}: is a directory",
            "name a file",
        )

    async def test_a_fifo_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo", 0o600)

        assert await refusal(PasswordFile(f"{tmp_path}/fifo")) == (
            f"password_file {tmp_path}/fifo: is not a regular file",
            "name a file, not a pipe or device",
        )

    async def test_a_disk_that_hangs_is_given_up_by_one_thread_and_keeps_no_other_file(
        self, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("openfit_tokend.config.passwords.TIME_LIMIT", 0.05)
        passwords, dead = Passwords(), PasswordFile(f"{tmp_path}/dead")
        change(tmp_path / "dead", b"hunter3", mode=0o600)
        with hung_disk("dead") as disk:
            for _ in range(20):
                with pytest.raises(SecretUnavailable, match="no answer within 0 s"):
                    await passwords.read(dead)
            assert disk.asked == 1
            monkeypatch.undo()
            assert await passwords.read(PasswordFile(str(secret))) == Secret("hunter2")
            disk.mend()
            assert await passwords.read(dead) == Secret("hunter3")


class TestCredential:
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        directory = tmp_path / "credentials"
        directory.mkdir()
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        return directory

    async def test_the_modes_of_a_credential_are_systemds_business(self, directory: Path) -> None:
        credential = directory / "main"
        credential.write_text("hunter2\n")
        credential.chmod(0o444)

        assert await read_password(PasswordCredential("main")) == Secret("hunter2")
        assert await read_password(PasswordFile(str(credential))) == Secret("hunter2")

    @pytest.fixture
    def acl_credential(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A credential as systemd 257 makes it: all root's, with ACLs for the service's user."""
        with TemporaryDirectory(prefix="oft-") as name:
            Path(name).chmod(0o711)
            credential = Path(name) / "credentials" / "main"
            credential.parent.mkdir()
            credential.write_text("hunter2\n")
            credential.chmod(0o440)
            give_acl(credential, NOBODY, 4)
            credential.parent.chmod(0o550)
            give_acl(credential.parent, NOBODY, 5)
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
            yield credential

    @needs_root
    async def test_an_acl_for_the_user_looks_like_another_group_and_is_no_fault(
        self, acl_credential: Path
    ) -> None:
        with being(NOBODY):
            password = await read_password(PasswordCredential("main"))
            by_path = await read_password(PasswordFile(str(acl_credential)))

        assert (password, by_path) == (Secret("hunter2"), Secret("hunter2"))

    async def test_a_symlink_within_the_directory_is_followed(self, directory: Path) -> None:
        (directory / "..data").mkdir()
        (directory / "..data" / "main").write_text("hunter2")
        (directory / "main").symlink_to("..data/main")

        assert await read_password(PasswordCredential("main")) == Secret("hunter2")

    @pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "/no/such/file"])
    @pytest.mark.usefixtures("secret")
    async def test_a_symlink_out_of_the_directory_is_refused(
        self, directory: Path, target: str
    ) -> None:
        (directory / "main").symlink_to(target)

        message, _ = await refusal(PasswordCredential("main"))

        assert message == (
            "password_credential main: is a symlink that leads out of $CREDENTIALS_DIRECTORY"
        )

    async def test_a_file_elsewhere_is_judged_though_it_leads_to_a_credential(
        self, directory: Path, tmp_path: Path
    ) -> None:
        (directory / "main").write_text("hunter2")
        (directory / "main").chmod(0o444)
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        (tmp_path / "open" / "link").symlink_to(directory / "main")

        message, _ = await refusal(PasswordFile(f"{tmp_path}/open/link"))

        assert "may read or write it" in message

    async def test_a_symlink_to_itself_is_told_so(self, directory: Path) -> None:
        (directory / "main").symlink_to("main")

        message, _ = await refusal(PasswordCredential("main"))

        assert message.startswith("password_credential main: can't be read: ")

    async def test_only_a_regular_file_is_a_credential(self, directory: Path) -> None:
        (directory / "main").mkdir()
        os.mkfifo(directory / "other")

        assert (await refusal(PasswordCredential("main")))[0].endswith(": is a directory")
        assert (await refusal(PasswordCredential("other")))[0].endswith(": is not a regular file")

    async def test_a_path_that_only_seems_to_be_a_credential_is_judged(
        self, directory: Path, secret: Path
    ) -> None:
        change(secret, mode=0o644)

        message, _ = await refusal(PasswordFile(f"{directory}/../secret"))

        assert message.endswith("everybody may read or write it (mode 0644)")

    async def test_without_systemd_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")

        assert await refusal(PasswordCredential("main")) == (
            (
                "password_credential main: $CREDENTIALS_DIRECTORY is not set:"
                " no credential was passed by systemd"
            ),
            (
                "put LoadCredential=main:/etc/openfit-tokend/credentials/main into the unit,"
                " then openfit-tokend restart: a daemon that is started by hand has none"
            ),
        )

    async def test_one_of_the_shipped_units_is_told_where_its_file_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")

        _, hint = await refusal(PasswordCredential("password_main"))

        assert hint is not None
        assert hint.startswith(
            "write it to /etc/openfit-tokend/credentials/main, then openfit-tokend"
        )

    async def test_one_the_unit_does_not_load_is_told_how_to(self) -> None:
        assert await refusal(PasswordCredential("main")) == (
            "password_credential main: does not exist",
            (
                "put LoadCredential=main:/etc/openfit-tokend/credentials/main into the unit,"
                " then openfit-tokend restart"
            ),
        )


class TestVariable:
    async def test_its_value_is_the_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENFIT_PASSWORD", "hünter2\n")

        assert await read_password(PasswordEnv("OPENFIT_PASSWORD")) == Secret("hünter2")

    async def test_it_is_taken_out_of_the_environment_and_used_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENFIT_PASSWORD", "taken")

        take_variables([PasswordEnv("OPENFIT_PASSWORD")])

        assert "OPENFIT_PASSWORD" not in os.environ
        for _ in range(2):
            assert await read_password(PasswordEnv("OPENFIT_PASSWORD")) == Secret("taken")

    async def test_an_absent_one_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENFIT_ABSENT", raising=False)

        assert await refusal(PasswordEnv("OPENFIT_ABSENT")) == (
            "password_env OPENFIT_ABSENT: this variable is not set in the daemon's environment",
            "set it where the daemon is started, and start it again",
        )


class TestCommand:
    async def test_what_it_prints_is_the_password(self) -> None:
        assert await read_password(shell("echo hunter2; echo noise >&2")) == Secret("hunter2")

    async def test_no_shell_touches_its_arguments(self) -> None:
        command = PasswordCommand(("printf", "%s", "$HOME;*"))

        assert await read_password(command) == Secret("$HOME;*")

    async def test_it_has_nothing_to_read(self) -> None:
        assert await read_password(shell("cat; echo end")) == Secret("end")

    async def test_it_is_given_a_clean_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OPENFIT_PASSWORD", "NOTIFY_SOCKET", "LISTEN_FDS", "LC_SECRET", "LC_ALL"):
            monkeypatch.setenv(name, "C")

        names = "sorted(os.environ.keys() - {'PWD', '_'})"
        output = await output_of(python(f"import os; print(*{names})"), Commands())

        assert b"LC_ALL" in output.split()
        assert {b"OPENFIT_PASSWORD", b"NOTIFY_SOCKET", b"LISTEN_FDS", b"LC_SECRET"}.isdisjoint(
            output.split()
        )

    async def test_it_keeps_the_variables_that_the_profile_names(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VAULT_ADDR", "https://vault.example.org")
        monkeypatch.delenv("VAULT_NAMESPACE", raising=False)
        code = 'echo "$VAULT_ADDR${VAULT_NAMESPACE-, no other}"'
        command = PasswordCommand(("/bin/sh", "-c", code), ("VAULT_ADDR", "VAULT_NAMESPACE"))

        assert await output_of(command, Commands()) == b"https://vault.example.org, no other\n"

    async def test_a_failure_names_the_variables_that_are_not_set(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VAULT_ADDR", "https://vault.example.org")
        monkeypatch.delenv("VAULT_TOKEN", raising=False)

        _, hint = await refusal(PasswordCommand(("false",), ("VAULT_ADDR", "VAULT_TOKEN")))

        assert hint == (
            "run it by hand as the daemon's user; not set where the daemon was started: VAULT_TOKEN"
        )

    async def test_it_is_given_no_descriptor_but_its_input_output_and_errors(self) -> None:
        passed = os.dup(1)
        os.set_inheritable(passed, True)  # noqa: FBT003 -- the system call's own form
        try:
            output = await output_of(
                python("import os; print(os.listdir('/proc/self/fd'))"), Commands()
            )
        finally:
            os.close(passed)

        assert output == b"['0', '1', '2', '3']\n"  # the last is the listing's own

    async def test_it_has_a_session_of_its_own(self) -> None:
        code = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"

        assert await output_of(python(code), Commands()) == b"True\n"

    async def test_a_child_left_in_the_background_is_not_waited_for(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"  # opened for reading, it holds the child as long as we like
        os.mkfifo(fifo)

        with anyio.fail_after(10):
            password = await read_password(shell(f"cat {shlex.quote(str(fifo))} & echo hunter2"))

        assert password == Secret("hunter2")
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))  # it lives; this ends it

    @pytest.mark.parametrize(
        "code", ["echo hunter2; exit 3", "password=hunter2; exit 3", "echo hunter2 >&2; exit 3"]
    )
    async def test_its_failure_is_told_without_a_word_of_what_it_wrote(self, code: str) -> None:
        assert await refusal(shell(f"set -x; {code}")) == (
            "password_command /bin/sh: ended with status 3",
            "run it by hand as the daemon's user",
        )

    async def test_its_death_is_told_with_the_signal(self) -> None:
        message, _ = await refusal(shell("kill -TERM $$"))

        assert message == "password_command /bin/sh: was killed by SIGTERM"

    async def test_a_signal_without_a_name_is_told_by_its_number(self) -> None:
        message, _ = await refusal(python("import os; os.kill(os.getpid(), 40)"))

        assert message.endswith("was killed by signal 40")

    async def test_one_that_prints_too_much_is_killed(self) -> None:
        message, hint = await refusal(shell("exec yes hunter2"))

        assert message == "password_command /bin/sh: printed more than 4096 bytes and was killed"
        assert hint == "it must print the password and nothing else"

    async def test_an_empty_answer_is_no_password(self) -> None:
        message, _ = await refusal(PasswordCommand(("true",)))

        assert message == "password_command true: is empty"

    async def test_an_unknown_program_is_told_so(self) -> None:
        assert await refusal(PasswordCommand(("/no/such",))) == (
            "password_command /no/such: there is no such program",
            "use its absolute path, or set $PATH where the daemon is started",
        )

    async def test_a_file_that_is_no_program_is_told_so(self, secret: Path) -> None:
        assert await refusal(PasswordCommand((str(secret),))) == (
            f"password_command {secret}: can't be executed",
            "make it executable for the daemon's user",
        )

        change(secret, mode=0o700)
        message, _ = await refusal(PasswordCommand((str(secret),)))

        assert message == f"password_command {secret}: can't be started: Exec format error"

    async def test_one_that_takes_too_long_is_killed_with_its_children(
        self, tmp_path: Path
    ) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        command = shell(f"echo hunter2; echo waiting >&2; cat {shlex.quote(str(fifo))}; :")

        with pytest.raises(Unusable) as caught:
            await output_of(command, Commands(), time_limit=1.0)

        assert caught.value.message == "took longer than 1 s and was killed"
        assert await nobody_reads(fifo)

    async def test_one_whose_caller_leaves_is_killed_with_its_children(
        self, tmp_path: Path
    ) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)

        writers: list[int] = []

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_password, shell(f"cat {shlex.quote(str(fifo))}; :"))
            writers.append(await opened_by_a_reader(fifo))
            tasks.cancel_scope.cancel()

        os.close(*writers)
        assert await nobody_reads(fifo)

    async def test_one_that_can_not_be_killed_stays_the_only_one_and_leaves_no_descriptors(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        commands, command = (
            Commands(),
            shell(f"echo $$ > {fifo}.pid; read x < {fifo}; echo hunter2"),
        )

        async def complaint() -> str:
            with pytest.raises(Unusable) as caught:
                await output_of(command, commands, time_limit=0.3)
            return caught.value.message

        def refuse(_group: int, _signal: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "killpg", refuse)  # as of another user's, such as sudo's
        monkeypatch.setattr(child_process, "DEATH_LIMIT", 0.1)
        before = descriptors()
        said = [await complaint() for _ in range(5)]

        pid = fifo.with_suffix(".pid").read_text().strip()
        assert said == [
            f"took longer than 0.3 s and can't be killed: process {pid} still runs",
            *[f"isn't started: an earlier one, process {pid}, can't be killed"] * 4,
        ]
        assert descriptors() <= before + 1  # that which tells of its end
        assert await output_of(shell("echo other"), commands) == b"other\n"

        monkeypatch.undo()
        os.close(await opened_by_a_reader(fifo))
        with anyio.fail_after(10):
            while (again := await complaint()) == said[-1]:  # noqa: ASYNC110 -- no event of ours
                await anyio.sleep(0.01)
        assert again == "took longer than 0.3 s and was killed"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count


async def opened_by_a_reader(fifo: Path) -> int:
    """Return the writing end as soon as somebody reads: waits in a thread, as open does."""
    return await anyio.to_thread.run_sync(os.open, fifo, os.O_WRONLY)


async def nobody_reads(fifo: Path) -> bool:
    """Return whether the readers are gone; killed ones take a moment to be."""
    with anyio.move_on_after(5):
        while True:
            try:
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # ENXIO: no reader
                return True
            await anyio.lowlevel.checkpoint()
    return False

"""The command `erc` as a process: light imports, output streams and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erc import __version__

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "scipy",
    "pyarrow",
    "faiss",
    "pandas",
    "datasets",
    "peft",
    "sqlalchemy",
)


def python(code: str, *, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new process."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
        input=stdin,
    )


def command(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `erc ARGUMENTS...`; `before` is code that runs first in the same process."""
    return python(
        f"import sys\nfrom erc.cli import main\n{before}\nsys.argv = ['erc', *{arguments!r}]\nmain()"
    )


def verb(body: str) -> str:
    """Code that adds the verb `fail`, with `body` as its function, to the command."""
    return f"from erc.cli.app import app\n@app.command('fail')\ndef fail() -> None:\n    {body}\n"


def test_help_imports_nothing_heavy() -> None:
    report = f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    result = command("--help", before=f"import atexit\natexit.register(lambda: {report})")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "HEAVY []"
    assert "Usage: erc" in result.stdout


def test_help_documents_the_exit_codes_of_errors() -> None:
    from erc import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConvemoError)
    }
    epilog = " ".join(command("--help").stdout.partition("Exit codes:")[2].split())
    assert [code for code in sorted(codes) if f"{code} " not in epilog] == []


def test_version_equals_that_of_the_package() -> None:
    result = command("--version")
    assert (result.returncode, result.stdout) == (0, f"erc {__version__}\n")


def test_unknown_verb_is_a_usage_error_on_stderr() -> None:
    result = command("lable")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "lable" in result.stderr


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (
            "from erc.errors import InputError; raise InputError('no turns', path='a.txt', line=3)",
            2,
            "erc: a.txt:3: no turns\n",
        ),
        (
            "from erc.errors import ArtefactError; raise ArtefactError('model.safetensors was altered')",
            3,
            "erc: model.safetensors was altered\n",
        ),
        (
            "from erc.errors import MissingExtraError; raise MissingExtraError('ray', 'ray')",
            4,
            "erc: this needs the package 'ray'",
        ),
    ],
)
def test_user_error_prints_one_line_and_exits_with_its_code(raised: str, code: int, message: str) -> None:
    result = command("fail", before=verb(raised))
    assert result.returncode == code
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_error_of_the_speaker_memory_prints_one_line() -> None:
    result = command(
        "fail",
        before=verb("from speakers.errors import SpeakersError; raise SpeakersError('the store is locked')"),
    )
    assert result.returncode != 0
    assert result.stderr == "erc: the store is locked\n"


def test_unexpected_error_prints_its_traceback() -> None:
    result = command("fail", before=verb("raise RuntimeError('a bug')"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "RuntimeError: a bug" in result.stderr


def test_interrupt_exits_with_130_and_no_traceback() -> None:
    result = command("fail", before=verb("raise KeyboardInterrupt"))
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


def test_closed_pipe_prints_no_error(tmp_path: Path) -> None:
    script = tmp_path / "fail.py"
    printing = verb("[print('line', number) for number in range(100_000)]")
    script.write_text(f"import sys\nfrom erc.cli import main\n{printing}\nsys.argv = ['erc', 'fail']\nmain()")
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_command_sets_omp_wait_policy_unless_it_is_set() -> None:
    show = verb("import os; print(os.environ['OMP_WAIT_POLICY'], 'torch' in __import__('sys').modules)")
    assert (
        command("fail", before="import os; os.environ.pop('OMP_WAIT_POLICY', None)\n" + show).stdout
        == "passive False\n"
    )
    assert (
        command("fail", before="import os; os.environ['OMP_WAIT_POLICY'] = 'active'\n" + show).stdout
        == "active False\n"
    )


def test_progress_bar_draws_nothing_without_a_terminal() -> None:
    lines = [
        "from erc.cli.console import progress_bar",
        "with progress_bar('labelling', 2) as advance:",
        "    advance(1)",
        "    advance(1)",
        "print('done')",
    ]
    result = python("\n".join(lines))
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_progress_bar_shows_the_count() -> None:
    import io

    from rich.console import Console

    from erc.cli.console import progress_bar

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress_bar("labelling", 5, console=console) as advance:
        advance(2)
        advance(1)
    assert "3/5" in console.file.getvalue()

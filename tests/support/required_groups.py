"""A pytest plugin: fails the run if a required group of tests is skipped.

CONVEMO_REQUIRE names the markers of the groups, separated by commas. The run fails if a test with one of the
markers is skipped, or if no test with it ran. Otherwise a missing server or corpus would look like success.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

VARIABLE = "CONVEMO_REQUIRE"


def pytest_configure(config: pytest.Config) -> None:
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    known = {line.partition(":")[0].strip() for line in config.getini("markers")}
    unknown = sorted(set(names) - known)
    if unknown:
        raise pytest.UsageError(f"{VARIABLE}: unknown marker {', '.join(unknown)}")
    if names:
        config.pluginmanager.register(RequiredGroups(names), "convemo-required-groups")


class RequiredGroups:
    """Records which tests of the groups `names` ran or were skipped, and fails the run at its end."""

    def __init__(self, names: list[str]) -> None:
        self.ran: dict[str, int] = dict.fromkeys(names, 0)
        self.skipped: dict[str, list[str]] = {name: [] for name in names}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        for name in self.ran:
            if item.get_closest_marker(name) is None:
                continue
            if report.skipped and not hasattr(report, "wasxfail"):
                self.skipped[name].append(item.nodeid)
            elif report.when == "call":
                self.ran[name] += 1
        return report

    def problems(self) -> list[str]:
        """One line for each skipped test and for each group in which no test ran."""
        lines = [
            f"{node} was skipped, but the group '{name}' is required"
            for name, nodes in self.skipped.items()
            for node in nodes
        ]
        return lines + [
            f"no test of the required group '{name}' ran" for name, count in self.ran.items() if count == 0
        ]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self.problems():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        problems = self.problems()
        if problems:
            terminalreporter.section("required groups", red=True, bold=True)
            for line in problems:
                terminalreporter.line(line, red=True)

"""Owns what marks and pytest's configuration say about time limits and reruns, by
the names that pytest-timeout and pytest-rerunfailures gave them, whether these
plugins are installed or not; and what rpt's own marks say of what tests share.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

import pytest

from rpt_shim import wire

#: The plugins' names: as installed, and as named with -p.
TIMEOUT_PLUGINS = ("timeout", "pytest_timeout")
RERUN_PLUGINS = ("rerunfailures", "pytest_rerunfailures")

#: rpt's own marks.
SHARING = ("rpt_uses", "rpt_exclusive", "rpt_serial")


def has_plugin(config: pytest.Config, names: tuple[str, ...]) -> bool:
    return any(config.pluginmanager.hasplugin(name) for name in names)


def register_options(config: pytest.Config, parser: pytest.Parser) -> None:
    """Where the plugins are missing their options and ini values are known all the
    same. Called after every plugin and conftest had its say."""
    if not has_plugin(config, TIMEOUT_PLUGINS):
        group = parser.getgroup("timeout", "time limits, kept by rpt")
        _add_option(group, "--timeout", type=float, help="seconds a test may take")
        for name, kind in (("timeout", None), ("timeout_method", None), ("timeout_func_only", "bool")):
            _add_ini(parser, name, kind)
    if not has_plugin(config, RERUN_PLUGINS):
        group = parser.getgroup("reruns", "reruns, made by rpt")
        _add_option(group, "--reruns", type=int, help="how often a failed test is run again")
        _add_option(group, "--reruns-delay", type=float, dest="reruns_delay", help="seconds before a rerun")
        _add_option(group, "--only-rerun", action="append", dest="only_rerun", help="rerun only what matches")
        for name in ("reruns", "reruns_delay"):
            _add_ini(parser, name, None)


def _add_option(group: Any, *names: str, **attributes: Any) -> None:
    # A conftest may have an option of that name: then it means that.
    with contextlib.suppress(ValueError):
        group.addoption(*names, **attributes)


def _add_ini(parser: Any, name: str, kind: Any) -> None:
    if name not in parser._inidict:
        parser.addini(name, "as the plugin of that name reads it", type=kind)


def register_marks(config: pytest.Config) -> None:
    if not has_plugin(config, TIMEOUT_PLUGINS):
        config.addinivalue_line("markers", "timeout(seconds, func_only=False): how long the test may take.")
    if not has_plugin(config, RERUN_PLUGINS):
        config.addinivalue_line("markers", "flaky(reruns=1, reruns_delay=0): a test that fails is run again.")

    config.addinivalue_line("markers", "rpt_uses(name, ...): resources of [tool.rpt.resources] that the test takes.")
    config.addinivalue_line("markers", "rpt_exclusive(name, ...): fixtures that one worker has at a time.")
    config.addinivalue_line("markers", "rpt_serial: the test runs alone.")


def configured(config: pytest.Config) -> dict[str, Any]:
    """What holds for every test that has no mark of its own. Raises UsageError."""
    limit = _option(config, "timeout")
    if limit is None:
        limit = os.environ.get("PYTEST_TIMEOUT") or _ini(config, "timeout")
    reruns = _option(config, "reruns")
    if reruns is None:
        reruns = _ini(config, "reruns")
    delay = _option(config, "reruns_delay")
    if delay is None:
        delay = _ini(config, "reruns_delay")
    patterns = _option(config, "only_rerun")
    return {
        "timeout": _seconds(limit, "timeout"),
        "func_only": _ini(config, "timeout_func_only") is True,
        "timeout_plugin": has_plugin(config, TIMEOUT_PLUGINS),
        "reruns": _count(reruns, "reruns"),
        "reruns_delay": _seconds(delay, "reruns_delay"),
        "only_rerun": patterns if isinstance(patterns, list) else [],
        "rerun_plugin": has_plugin(config, RERUN_PLUGINS),
    }


def of_item(found: dict[str, list[pytest.Mark]]) -> dict[str, Any] | None:
    """What an item's marks, by name and the nearest first, say by the names of rpt's
    Marks; None where they say nothing."""
    said: dict[str, Any] = {}
    if "timeout" in found:
        timeout = found["timeout"][0]
        seconds = timeout.args[0] if timeout.args else timeout.kwargs.get("timeout")
        try:
            said["timeout"] = _seconds(seconds, "timeout")
        except pytest.UsageError as error:
            said["problem"] = str(error)
        if "func_only" in timeout.kwargs:
            said["func_only"] = bool(timeout.kwargs["func_only"])
    if "flaky" in found:
        said.update(_of_flaky(found["flaky"][0]))
    for name, field in (("rpt_uses", "uses"), ("rpt_exclusive", "exclusive")):
        if name in found:
            # Those of the class and the module, too.
            names = {argument for mark in found[name] for argument in mark.args if isinstance(argument, str)}
            said[field] = sorted(map(wire.text, names))
            for mark in found[name]:
                if mark.kwargs or not mark.args or not all(isinstance(one, str) and one for one in mark.args):
                    said["misuse"] = f"{_written(mark)}: it takes names, as in {name}('db')"
    if "rpt_serial" in found:
        said["serial"] = True
        for mark in found["rpt_serial"]:
            if mark.kwargs or mark.args:
                said["misuse"] = f"{_written(mark)}: it takes nothing"
    return {name: value for name, value in said.items() if value is not None} or None


def _written(mark: pytest.Mark) -> str:
    """A mark as it stands in the test's file."""
    arguments = [repr(argument) for argument in mark.args]
    arguments += [f"{name}={value!r}" for name, value in mark.kwargs.items()]
    return wire.text(f"{mark.name}({', '.join(arguments)})")


def _of_flaky(mark: pytest.Mark) -> dict[str, Any]:
    known = {"reruns", "reruns_delay", "only_rerun", "rerun_except", "condition"}
    # Another plugin's mark of the same name (`flaky(max_runs=3)`) is that plugin's.
    if set(mark.kwargs) - known or mark.kwargs.get("condition", True) is False:
        return {}
    said: dict[str, Any] = {}
    try:
        said["reruns"] = _count(mark.kwargs.get("reruns", mark.args[0] if mark.args else 1), "reruns")
        said["reruns_delay"] = _seconds(mark.kwargs.get("reruns_delay"), "reruns_delay")
    except pytest.UsageError as error:
        said["problem"] = str(error)
    for name in ("only_rerun", "rerun_except"):
        patterns = mark.kwargs.get(name)
        if patterns is not None:
            several = patterns if isinstance(patterns, (list, tuple)) else [patterns]
            said[name] = [
                pattern.__name__ if isinstance(pattern, type) else wire.text(getattr(pattern, "pattern", pattern))
                for pattern in several
            ]
    return said


def _option(config: pytest.Config, name: str) -> Any:
    return getattr(config.option, name, None)


def _ini(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (KeyError, ValueError):
        return None


def _seconds(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise pytest.UsageError(f"{name}: {value!r} is no number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise pytest.UsageError(f"{name}: {value!r} is no number of seconds")
    return seconds


def _count(value: Any, name: str) -> int | None:
    if value is None or value == "":
        return None
    if not re.fullmatch(r"\d{1,9}", str(value)):
        raise pytest.UsageError(f"{name}: {value!r} is no number")
    return int(value)

"""Owns the pytest session that collects once and then serves: it describes its
items, forks workers, waits for clients, and ends.

One class is the plugin of that session. In a forked worker (and where tests run
in this very process) the same session goes on and runs items instead.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from rpt_shim import (
    cache,
    deal,
    ending,
    inventory,
    leaks,
    loaded,
    marks,
    orphans,
    parts,
    relay,
    resident,
    rewritten,
    sharing,
    shortcuts,
    spare,
    stacks,
    staying,
    surroundings,
    temporary,
    wire,
)
from rpt_shim.board import Board
from rpt_shim.children import CHILD_POLL, Children
from rpt_shim.dependencies import Dependencies
from rpt_shim.findings import Findings
from rpt_shim.prepared import Prepared
from rpt_shim.voices import Voices
from rpt_shim.worker import Worker, describe_warning, join, ready

#: How often adopted children are looked at while workers run, in seconds.
ORPHAN_POLL = 0.1

#: With so many tests the collector seldom moves anything, and what workers leave need not be collected:
#: a look beforehand whether that could be heard takes a third of it.
FEW_ITEMS = 200


class Server:
    """The plugin."""

    def __init__(self, control: wire.Control, settings: dict[str, Any], gc_thresholds: tuple[int, int, int]) -> None:
        self.control: wire.Control | None = control
        self.last_client: wire.Control | None = None
        self.settings = settings
        #: The collector's thresholds to restore once everything is collected.
        self.gc_thresholds = gc_thresholds
        #: Where it notes what it collects.
        self.board = Board(settings["board"])
        os.close(settings["board"])
        self.began = time.perf_counter()
        self.findings = Findings()
        self.dependencies: Dependencies | None = None
        self.describer = inventory.Describer()
        #: Collection is over and requests are answered.
        self.entered = False
        #: This process was forked from the server.
        self.forked = False
        self.worker: Worker | None = None
        self.children = Children()
        #: Children from before any test ran: what the project itself started.
        self.spared: set[int] = set()
        self.adopts = False
        self.listener: socket.socket | None = None
        self.listens_at = ""
        #: What every client that comes is told first; None: it serves one at a time.
        self.greeting: dict[str, Any] | None = None
        #: The same, of a fork that serves one client.
        self.said_first: dict[str, Any] = {}
        #: This process is a fork that serves one client of many.
        self.apart = False
        #: What was worked out before the first client came.
        self.prepared: Prepared | None = None
        #: Whether a collection of garbage could be heard, where that is worth a look.
        self.voices: Voices | None = None
        #: Of a worker: made before its run was known.
        self.ready_worker: Worker | None = None
        #: Items that were collected again at last.
        self.renewed: list[pytest.Item] = []
        self.config: pytest.Config | None = None
        #: Where workers ask for their folders.
        self.desk: temporary.Desk | None = None
        #: What serves the next client, or runs what comes first.
        self.spare: spare.Spare | None = None
        #: None was made since somebody came.
        self.lacks_spare = False
        #: It is likely that somebody waits for what was collected again just now.
        self.is_awaited = False
        #: Garbage is left of what was collected again.
        self.is_untidy = False
        #: What was loaded from the project: a client that comes later is never given a collection of
        #: files that changed since.
        self.seen: dict[str, loaded.State] = {}
        #: What pytest's configuration says of time limits and reruns.
        self.rules: dict[str, Any] = {}
        #: Which plugins only this process has.
        self.registrations = relay.Registrations()
        self.relay: relay.Relay | None = None
        #: How the run ended, once it has.
        self.ending: dict[str, Any] | None = None
        #: What plugins said at the end.
        self.said = ""
        self.output: dict[str, Any] = {}
        #: It takes one client after another and keeps a worker with its fixtures.
        self.residence: resident.Residence | None = None
        #: This process is that worker.
        self.resident: resident.Resident | None = None
        #: Of a whole collection: what later ones need to know that are dealt out.
        self.meter: deal.Meter | None = None
        #: Workers collect their own files, and this process none.
        self.deals = False
        #: Of such a worker: what it collects.
        self.share: deal.Share | None = None

    # While pytest starts and collects

    @pytest.hookimpl(hookwrapper=True)
    def pytest_cmdline_main(self, config: Any) -> Any:
        # `addopts = -n auto` is for pytest-xdist, whose place rpt takes.
        for name, value in (("numprocesses", None), ("dist", "no"), ("tx", []), ("distload", False)):
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        # Idle, it is not there: plugins that are told of it would wait for its workers.
        for name in ("xdist", "xdist.looponfail"):
            if config.pluginmanager.hasplugin(name):
                config.pluginmanager.unregister(name=name)
        config.pluginmanager.register(self.registrations, "rpt-registrations")
        identity = self.settings.get("identity")
        if identity is None:
            parts.controls(config)
        else:
            surroundings.identify(config, identity)
            config.workerinput.update(parts.told(config))
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config, parser: pytest.Parser) -> Any:
        if self.settings.get("identity") is not None:
            parts.is_one_of_many(early_config.known_args_namespace)
        rewritten.install(early_config, self.dependencies)
        if self.dependencies is not None:
            self.dependencies.seclusion.install(early_config)
        yield
        marks.register_options(early_config, parser)

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config
        marks.register_marks(config)
        self.rules = marks.configured(config)
        if not config.pluginmanager.hasplugin("xdist"):
            config.addinivalue_line("markers", "xdist_group(name): tests of one group run on one worker.")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        shortcuts.install(session)
        if self.dependencies is not None:
            self.meter = deal.Meter(session, self.dependencies)
        if self.settings["deals"] and deal.can(self, session.config):
            return deal.serve(self, session)
        return None

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        self.board.collects(collector.nodeid)
        if self.meter is not None:
            self.meter.begins(collector)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.findings.add(report)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.findings.deselected += len(items)

    def pytest_warning_recorded(
        self, warning_message: Any, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        if self.worker is None:
            self.findings.warnings.append(describe_warning(warning_message, when, nodeid, location))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Any:
        yield
        if self.forked:
            self.output = session.config.workeroutput  # type: ignore[attr-defined]
        elif self.ending is not None:
            self.said = relay.summary(session.config, int(exitstatus))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self.deals:
            return True
        self.entered = True
        assert self.control is not None
        if self.share is not None:
            self.share.complete()
        if self.dependencies is not None:
            self.dependencies.stop()
        if self.meter is not None:
            self.meter.ends()
        surroundings.outlive(self.control.fileno())
        surroundings.hush_terminal(session.config)
        gc.set_threshold(*self.gc_thresholds)
        # Everything collected is old now, without a look at it. It must not stay
        # frozen: gc.get_referrers and gc.collect would be blind to it, and there
        # are tests (and hypothesis) that ask them.
        gc.freeze()
        gc.unfreeze()
        self.seen = loaded.by_collection(session)
        self.control.send(self.collected(session))
        # While the client reads.
        self.spared = orphans.children()
        return self.serve(session)

    def collected(self, session: pytest.Session) -> dict[str, Any]:
        took = time.perf_counter() - self.began
        said = self.findings.said(session, took, self.settings["options"], self.rules)
        return {**said, "deals": self.deals}

    # While it serves

    def serve(self, session: pytest.Session) -> bool:
        """Answers requests until the client is gone. Returns in the server when it
        ends, and in each worker when that worker has nothing more to run."""
        deadline: float | None = None
        idle_since = time.monotonic()
        while True:
            due = deadline if self.greeting is None else staying.next_chore(self, idle_since)
            readable = self._wait(due)
            if readable:
                idle_since = time.monotonic()
            if self.greeting is not None and due is not None and not readable and time.monotonic() >= due:
                if staying.do_chore(self, session):
                    return True
                continue
            if self.listener is not None and self.listener in readable:
                connection, _ = self.listener.accept()
                if self.greeting is not None:
                    staying.serve_apart(self, session, connection)
                    self._reap()
                    continue
                self.stop_listening()
                self.control = wire.Control(connection)
                deadline = None
                self.control.send({**self.collected(session), "stale": loaded.changed(self.seen.items())})
            elif self.control is not None and self.control in readable:
                request = self.control.receive()
                if request is None:
                    # Closed with the process: the client waits for that.
                    self.last_client = self.control
                    self.control = None
                    if self.greeting is not None:
                        # Who keeps it is gone; its forks belong to their own clients.
                        self.stop_listening()
                        self.drop_spare()
                    else:
                        # The client is gone, and with it every reason to run.
                        self.children.kill()
                    if self.listener is None and not (self.greeting and self.children):
                        return self._leave(session)
                elif self._answer(session, *request):
                    return True
                idle_since = time.monotonic()
                if request is not None and request[0]["op"] == "linger":
                    deadline = time.monotonic() + request[0]["seconds"]
            elif self.relay is not None and self.relay in readable:
                if not self.relay.read():
                    broke, self.relay = self.relay.broke, None
                    if broke is not None:
                        raise broke
            elif self.control is None and deadline is not None and time.monotonic() >= deadline:
                self.stop_listening()
                return self._leave(session)
            self._reap()
            if self.greeting is not None and self.control is None and not self.children:
                return self._leave(session)

    def _leave(self, session: pytest.Session) -> bool:
        """Ends a process that ran no test: nothing of one is left to be found when
        pytest collects garbage at its end, five times over all that was collected."""
        gc.freeze()
        if self.ending is None:
            # It only collected. Plugins leave nothing behind then: pytest would make its
            # cache folder now, beside the next collection of the same tests.
            session.config.option.collectonly = True
            surroundings.write_no_report(session.config)
            return True
        while self.relay is not None and self.relay.read():
            pass
        if self.relay is not None and self.relay.broke is not None:
            raise self.relay.broke
        ending.server_leaves(self)
        cache.keep_known_ids(session.config, None if self.prepared is None else self.prepared.known_ids)
        # What pytest makes its exit code of.
        code = self.ending["exit_code"]
        session.testsfailed = max(1, self.ending["failed"]) if code == 1 else 0
        session.testscollected = self.ending["total"]
        if code not in (0, 1, 5):
            raise pytest.exit.Exception(self.ending["reason"], returncode=code)
        return True

    def _wait(self, deadline: float | None) -> list[Any]:
        poll = select.poll()
        waited_for = (self.control, self.listener, self.relay)
        if self.residence is not None:
            waited_for = self.residence.sources()
        sources = {source.fileno(): source for source in waited_for if source is not None}
        desk = [] if self.desk is None else [self.desk.fileno()]
        for fd in [*sources, *desk, *self.children.descriptors()]:
            poll.register(fd, select.POLLIN)
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if self.children and self.adopts:
            timeout = ORPHAN_POLL if timeout is None else min(timeout, ORPHAN_POLL)
        if self.children.must_be_asked():
            timeout = CHILD_POLL if timeout is None else min(timeout, CHILD_POLL)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        if self.desk is not None and any(fd == self.desk.fileno() for fd, _ in ready):
            assert self.config is not None
            self.desk.answer(self.config)
        return [sources[fd] for fd, _ in ready if fd in sources]

    def _answer(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> bool:
        """Does what a request asks. True: this process has run its tests and the
        session ends here."""
        assert self.control is not None
        operation = request["op"]
        if operation == "items":
            self._send_items(session, request["full"], request["located"], request["files"])
        elif operation == "fork":
            return self._fork(session, request, fds)
        elif operation == "collect":
            return deal.fork(self, session, request, fds)
        elif operation == "run":
            self._run_here(session, request, fds)
            return True
        elif operation == "relay":
            self.relay = relay.Relay(session, fds[0])
        elif operation == "finish":
            self.ending = request
            cache.remember(session.config, request["failures"], request["ran"])
            cache.remember_ids(session.config, request["dealt"])
        elif operation == "collect_reports":
            found = [relay.serialised(session.config, report, {}) for report in self.findings.reports]
            self.control.send({"reports": [json.dumps(report) for report in found]})
        elif operation == "fixtures":
            if self.prepared is not None and not request["exclusive"]:
                used, unknown = self.prepared.shared, []
            else:
                used, unknown = sharing.used(session, request["exclusive"])
            self.control.send({"fixtures": used, "unknown": unknown})
        elif operation == "dependencies":
            self._send_dependencies(session)
        elif operation == "selectors":
            self.control.send({"selectors": self.describer.selectors, "is_tied": self.describer.is_tied})
            # Who keeps it has all that it asks for then.
            self.is_awaited = self.greeting is not None
        elif operation == "stay":
            self._listen(session.config, request["socket"])
            staying.begin(self, session)
        elif operation == "reside":
            return resident.serve(self, session, request)
        elif operation == "renew":
            staying.renew(self, session, request)
        elif operation == "new_items":
            for payload in self._chunks(self.renewed, self.describer.full):
                self.control.send_encoded(payload)
        elif operation == "linger":
            self._listen(session.config, request["socket"])
            self.control.send({"type": "lingering"})
        else:
            self.control.send({"type": "refused", "message": f"unknown request {operation}"})
        return False

    def _send_items(self, session: pytest.Session, full: bool, located: bool, files: list[str] | None) -> None:
        """Of these files alone, where that is known without a look at all items."""
        assert self.control is not None
        describe = self.describer.full if full else self.describer.located if located else inventory.brief
        if self.prepared is not None and not full and not located:
            payloads: Iterable[bytes] = self.prepared.items if files is None else self.prepared.of_files(files)
        else:
            payloads = self._chunks(session.items, describe)
        for payload in payloads:
            self.control.send_encoded(payload)

    @staticmethod
    def _chunks(items: list[pytest.Item], describe: Any) -> Iterator[bytes]:
        for start in range(0, len(items), inventory.CHUNK):
            chunk = [describe(item) for item in items[start : start + inventory.CHUNK]]
            yield wire.encode({"type": "items", "items": chunk})
        yield wire.encode({"type": "items", "items": []})

    def _send_dependencies(self, session: pytest.Session) -> None:
        assert self.control is not None
        if self.dependencies is None:
            self.control.send({"type": "refused", "message": "nothing was watched"})
            return
        report = self.dependencies.report(session)
        has_warnings = any(warning["when"] == "collect" for warning in self.findings.warnings)
        self.control.send({**report, "deal": self.meter and self.meter.told(session, has_warnings)})

    def _fork(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> bool:
        assert self.control is not None
        worker = request["identity"]["worker"]
        if self.residence is not None and self.residence.hand_over(request, fds):
            for fd in fds:
                os.close(fd)
            assert self.residence.pid is not None
            self.control.send({"type": "forked", "worker": worker, "pid": self.residence.pid})
            return False
        self.adopts = self.adopts or orphans.adopt()
        ready, self.spare = self.spare, None
        if ready is not None and self.residence is not None:
            ready.drop()
        elif ready is not None and ready.takes(request, fds):
            for fd in fds:
                os.close(fd)
            self.children.name(ready.pid, worker)
            self.control.send({"type": "forked", "worker": worker, "pid": ready.pid})
            return False
        if self.voices is None and len(session.items) <= FEW_ITEMS:
            self.voices = Voices(session.config, [self.control.fileno()])
        if self.desk is None:
            self.desk = temporary.Desk()
        lines = None if self.residence is None else self.residence.pair()
        pid = self.children.fork(worker)
        if pid == 0:
            if lines is not None:
                lines[0].close()
                self.resident = resident.Resident(self, session, lines[1])
            self.become_worker(session, request, fds)
            return True
        for fd in fds:
            os.close(fd)
        if self.residence is not None and lines is not None:
            lines[1].close()
            self.residence.forked(pid, worker, lines[0])
        self.control.send({"type": "forked", "worker": worker, "pid": pid})
        return False

    def become_worker(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> None:
        self.forked = True
        os.setpgid(0, 0)
        if self.control is not None:
            self.control.close()
        if self.voices is not None:
            self.voices.own_nothing()
        if self.residence is not None:
            self.residence.let_go()
        output, lifeline = fds[2:4]
        stacks.answer(request["manner"]["stacks_signal"], output)
        surroundings.take_descriptors(output)
        surroundings.die_with(lifeline)
        surroundings.forget_exit_handlers()
        self._run_as_worker(session, request, fds)
        if self.resident is not None:
            self.resident.live(request, fds)
        ending.worker_leaves(self, session)

    def _run_here(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> None:
        """Runs in this very process: a spawned worker, or the user's terminal."""
        output, lifeline = fds[2:4]
        surroundings.die_with(lifeline)
        stacks.answer(request["manner"]["stacks_signal"], output)
        if request["identity"] is None:
            os.close(output)
            self._run(session, request, fds)
        else:
            surroundings.take_descriptors(output)
            self._run_as_worker(session, request, fds)

    def _run_as_worker(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> None:
        config = session.config
        surroundings.own_capture(config)
        surroundings.own_fault_handler(config)
        if self.desk is None:
            surroundings.own_temporary_folder(config, request["identity"]["worker"])
        else:
            temporary.own(config, request["identity"]["worker"], self.desk)
        surroundings.identify(config, request["identity"])
        if self.forked:
            relay.leave_to_controller(config, self.registrations.controllers)
            parts.works(config)
        self._run(session, request, fds)

    def _run(self, session: pytest.Session, request: dict[str, Any], fds: list[int]) -> None:
        work, results = fds[:2]
        # 0: rpt counts by itself.
        session.config.option.maxfail = request["manner"]["maxfail"]
        option: Any = session.config.option
        if request["manner"]["tb"] is not None:
            option.tbstyle = request["manner"]["tb"]
        option.verbose += request["manner"]["verbosity"]
        worker, is_new = self.ready_worker or ready(session), self.ready_worker is None
        self.ready_worker = None
        worker.board.lies_at(fds[4])
        os.close(fds[4])
        # What the run's set-up commands passed on.
        os.environ.update(request["manner"]["environment"])
        # Files that failed to collect were counted; -x is about tests from here on.
        session.testsfailed = 0
        # What is looked at around an item must be around it.
        protocol = "full" if request["manner"]["detect_leaks"] else request["manner"]["protocol"]
        worker.results, worker.work = wire.Results(results), wire.Work(work)
        worker.follow(protocol)
        self.worker = worker
        worker.resident = self.resident
        if request["manner"]["reports"]:
            worker.hand_reports_on()
        if is_new:
            join(session, worker)
        if request["manner"]["detect_leaks"]:
            worker.leaks = leaks.Leaks()
            session.config.pluginmanager.register(worker.leaks, "rpt-leaks")
        try:
            worker.run(session)
        finally:
            # What tests left behind is found here, while pytest still listens for
            # exceptions in finalizers. The five rounds at its own end then look at
            # what is new since, not at every item of the suite again.
            worker.left_no_voice = self.voices is not None and self.voices.nobody_has_one()
            if not worker.left_no_voice:
                gc.collect()
            gc.freeze()

    def _reap(self) -> None:
        for pid, worker, status in self.children.ended():
            # Of forks that serve others, or nobody yet, nobody is told.
            if self.spare is not None and self.spare.pid == pid:
                self.drop_spare()
            if self.control is not None and self.greeting is None and worker:
                # A client that is gone is seen by the next look at its connection.
                with contextlib.suppress(OSError):
                    self.control.send({"type": "exited", "worker": worker, "pid": pid, "status": status})
        if self.adopts:
            orphans.reap(self.spared | self.children.pids())

    def end_orphans(self) -> None:
        """Whatever tests started ends with the server, whoever its parent was."""
        if self.forked:
            return
        ending = set()
        if self.apart and self.children and self.ending is not None and self.ending["exit_code"] in (0, 1):
            # They have said all, or their end is known. Where nothing is below one, nothing comes of it
            # that would have to be ended, and whoever adopts it waits for it.
            self.children.kill()
            ending = {pid for pid in self.children.pids() if orphans.has_none(pid)}
        orphans.end(self.spared | ending)

    # While nobody is connected

    def _listen(self, config: pytest.Config, path: str) -> None:
        self.listens_at = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o600)
        self.listener.listen(64)
        null = os.open(os.devnull, os.O_RDWR)
        surroundings.take_descriptors(null)
        surroundings.own_capture(config)
        surroundings.own_fault_handler(config)

    def drop_spare(self) -> None:
        if self.spare is not None:
            self.spare.drop()
            self.spare = None

    def stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None
            try:
                os.unlink(self.listens_at)
            except OSError:
                pass

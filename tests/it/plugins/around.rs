//! Plugins that act around tests, where they run: outcomes are plain pytest's.

use serde_json::json;

use super::beside::{compare, project, pytest, rpt};

#[test]
fn asyncio() {
    let project = project(&["pytest_asyncio.plugin"]).file(
        "test_it.py",
        "import asyncio, pytest\n\
         @pytest.fixture\n\
         async def given():\n\
         \x20   await asyncio.sleep(0)\n\
         \x20   yield 1\n\
         @pytest.mark.asyncio\n\
         async def test_passes(given): assert given == 1\n\
         @pytest.mark.asyncio\n\
         async def test_fails(given): assert given == 2\n\
         class TestShared:\n\
         \x20   @pytest.mark.asyncio(loop_scope='class')\n\
         \x20   async def test_one(self): TestShared.loop = asyncio.get_running_loop()\n\
         \x20   @pytest.mark.asyncio(loop_scope='class')\n\
         \x20   async def test_same(self): assert TestShared.loop is asyncio.get_running_loop()\n",
    );
    compare(&project, &["-o", "asyncio_mode=auto"]);
}

#[test]
fn anyio_with_trio() {
    let project = project(&["anyio.pytest_plugin"]).file(
        "test_it.py",
        "import anyio, pytest, sniffio\n\
         @pytest.fixture(params=['asyncio', 'trio'])\n\
         def anyio_backend(request): return request.param\n\
         @pytest.mark.anyio\n\
         async def test_runs(anyio_backend):\n\
         \x20   await anyio.sleep(0)\n\
         \x20   assert sniffio.current_async_library() == anyio_backend\n\
         @pytest.mark.anyio\n\
         async def test_fails(anyio_backend): assert anyio_backend == 'trio'\n",
    );
    let (plain, _) = compare(&project, &[]);
    assert_eq!(plain.tests.len(), 4);
}

#[test]
fn hypothesis_has_its_database_and_its_seed() {
    let project = project(&["_hypothesis_pytestplugin"]).file(
        "test_it.py",
        "from hypothesis import given, strategies\n\
         @given(strategies.integers())\n\
         def test_holds(number): assert number == number\n\
         @given(strategies.integers())\n\
         def test_fails(number): assert number < 1000\n\
         def test_more(): pass\n",
    );
    let (_, output) = compare(&project, &["--hypothesis-seed=7"]);
    let message = output.result("test_fails")["message"].to_string();
    assert!(message.contains("number=1000"), "{message}");
    // Without a seed failing examples are kept, for the next run and for plain pytest.
    rpt(&project, &[]).assert_code(1);
    assert!(project.path().join(".hypothesis/examples").is_dir());
    assert!(pytest(&project, &[]).text().contains("number=1000"));
}

#[test]
fn mock() {
    let project = project(&["pytest_mock"]).file(
        "test_it.py",
        "import os\n\
         def test_patched(mocker):\n\
         \x20   mocker.patch('os.getcwd', return_value='nowhere')\n\
         \x20   assert os.getcwd() == 'nowhere'\n\
         def test_restored(mocker): assert os.getcwd() != 'nowhere'\n\
         def test_fails(mocker): mocker.stub().assert_called_once()\n",
    );
    compare(&project, &[]);
}

#[test]
fn randomly_seeds_and_rpt_orders() {
    let project = project(&["pytest_randomly"]).file(
        "test_it.py",
        "import random, pytest\n\
         @pytest.mark.parametrize('number', range(6))\n\
         def test_seeded(number):\n\
         \x20   with open('numbers', 'a') as file: file.write(f'{number} {random.random()}\\n')\n",
    );
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.sort();
        std::fs::remove_file(project.path().join("numbers")).unwrap();
        lines
    };
    pytest(&project, &["--randomly-seed=3"]).assert_code(0);
    let expected = sorted(project.read("numbers"));
    rpt(&project, &["--randomly-seed=3"]).assert_code(0);
    assert_eq!(sorted(project.read("numbers")), expected);
    // What comes through the pipe keeps its order, whatever the plugin would make of it.
    let ids: Vec<String> = (0..6).rev().map(|number| format!("test_it.py::test_seeded[{number}]")).collect();
    let run = project.command("rpt-run").args(["-n", "1", "--", "--randomly-seed=3"]).stdin(ids.join("\n")).run();
    assert_eq!(run.results().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
}

#[test]
fn timeout() {
    let project = project(&["pytest_timeout"]).file(
        "test_it.py",
        "import time\n\
         def test_hangs(): time.sleep(60)\n\
         def test_passes(): pass\n",
    );
    compare(&project, &["--timeout=1"]);
}

#[test]
fn rerunfailures_beside_xdist() {
    for plugins in [&["pytest_rerunfailures"][..], &["pytest_rerunfailures", "xdist.plugin", "xdist.looponfail"]] {
        let project = project(plugins).file(
            "test_it.py",
            "import pathlib, pytest\n\
             def test_flaky(tmp_path_factory, request):\n\
             \x20   mark = pathlib.Path('mark')\n\
             \x20   seen = mark.exists()\n\
             \x20   mark.touch()\n\
             \x20   assert seen\n\
             @pytest.mark.flaky(reruns=2)\n\
             def test_never(): assert 0\n\
             def test_passes(): pass\n",
        );
        let output = rpt(&project, &["--reruns", "1"]);
        output.assert_code(1);
        assert_eq!(output.result("test_flaky")["outcome"], "passed", "{plugins:?}");
        assert_eq!(output.result("test_flaky")["flaky"], true);
        assert_eq!(output.result("test_never")["attempts"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn xdist_is_installed_and_configured() {
    let project = project(&["xdist.plugin", "xdist.looponfail"])
        .file("test_it.py", "import pytest\n@pytest.mark.parametrize('n', range(9))\ndef test_many(n, worker_id): assert worker_id != 'master'\n")
        .file("conftest.py", "def pytest_xdist_auto_num_workers(config): raise ValueError\ndef pytest_configure_node(node): raise ValueError\n");
    project.write("pytest.ini", "[pytest]\naddopts = -n auto --dist loadgroup\n");
    let output = project.command("rpt-run").args(["-n", "2", "."]).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 9);
}

#[test]
fn env_and_socket() {
    let project = project(&["pytest_env.plugin", "pytest_socket"]).file(
        "test_it.py",
        "import os, socket\n\
         def test_environment(): assert os.environ['FLAVOUR'] == 'sweet'\n\
         def test_no_network(): socket.socket()\n",
    );
    project.write("pytest.ini", "[pytest]\nenv = FLAVOUR=sweet\n");
    let (plain, _) = compare(&project, &["--disable-socket"]);
    assert_eq!(plain.exit_code, 1);
}

#[test]
fn subtests() {
    // pytest's own, and the plugin in their place, as with a pytest that has none.
    for plugins in [&[][..], &["no:subtests", "pytest_subtests.plugin"]] {
        let project = project(plugins).file(
            "test_it.py",
            "import unittest\n\
             def test_parts(subtests):\n\
             \x20   for number in range(4):\n\
             \x20       with subtests.test('told', number=number): assert number != 2\n\
             def test_all_pass(subtests):\n\
             \x20   with subtests.test('one'): pass\n\
             def test_fails_after(subtests):\n\
             \x20   with subtests.test('one'): pass\n\
             \x20   assert 0\n\
             class TestUnit(unittest.TestCase):\n\
             \x20   def test_case(self):\n\
             \x20       for number in range(3):\n\
             \x20           with self.subTest(number=number): self.assertNotEqual(number, 1)\n",
        );
        let (_, output) = compare(&project, &[]);
        let parts = output.result("test_parts");
        assert_eq!((&parts["outcome"], &parts["passing_subtests"]), (&json!("failed"), &json!(3)), "{plugins:?}");
        let message = parts["message"].as_str().unwrap();
        assert!(message.contains("assert 2 != 2"), "{plugins:?}: {message}");
        assert_eq!(output.result("test_all_pass")["passing_subtests"], 1, "{plugins:?}");
    }
}

#[test]
fn order() {
    let project = project(&["pytest_order.plugin"]).file(
        "test_it.py",
        "import pytest\n\
         @pytest.mark.order(2)\n\
         def test_second(): pass\n\
         @pytest.mark.order(1)\n\
         def test_first(): pass\n",
    );
    let run = project.command("rpt-run").args(["-n", "1", "."]).run();
    assert_eq!(run.results()[0].0, "test_it.py::test_first");
    assert!(run.said().is_empty(), "{run:#?}");
    assert!(rpt(&project, &[]).said()[0].contains("pytest-order's order holds on one worker only"));
    compare(&project, &[]);
}

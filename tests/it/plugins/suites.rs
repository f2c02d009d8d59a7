//! Plugins that shape a whole suite: what they keep, start and compare.

use std::collections::BTreeSet;

use super::beside::{compare, project, pytest, rpt};

#[test]
fn django_has_a_database_for_each_worker() {
    let project = project(&["pytest_django.plugin"])
        .file("shop/__init__.py", "")
        .file(
            "shop/models.py",
            "from django.db import models\nclass Item(models.Model):\n    name = models.CharField(max_length=20)\n",
        )
        .file("settings.py", "SECRET_KEY = 'x'\nINSTALLED_APPS = ['shop']\nUSE_TZ = True\nDATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'shop.db', 'TEST': {'NAME': 'test.db'}}}\nDEFAULT_AUTO_FIELD = 'django.db.models.AutoField'\n");
    for file in ["a", "b", "c", "d"] {
        project.write(
            &format!("test_{file}.py"),
            "import pytest, time\nfrom shop.models import Item\nfrom django.db import connection\n\
             @pytest.mark.django_db\n\
             @pytest.mark.parametrize('number', range(5))\n\
             def test_alone(number):\n\
             \x20   assert Item.objects.count() == 0\n\
             \x20   Item.objects.create(name=str(number))\n\
             \x20   time.sleep(0.01)\n\
             \x20   assert Item.objects.count() == 1\n\
             @pytest.mark.django_db(transaction=True)\n\
             def test_committed():\n\
             \x20   assert Item.objects.count() == 0\n\
             \x20   Item.objects.create(name='kept')\n\
             @pytest.mark.django_db\n\
             def test_name(worker_id):\n\
             \x20   name = str(connection.settings_dict['NAME'])\n\
             \x20   open('names', 'a').write(f'{worker_id} {name}\\n')\n\
             def test_no_database(): Item.objects.count()\n",
        );
    }
    project.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n");
    let output = rpt(&project, &[]);
    assert_eq!(output.results().iter().filter(|(_, outcome)| outcome == "passed").count(), 28, "{output:#?}");
    let names = project.read("names");
    for line in names.lines() {
        let (worker, name) = line.split_once(' ').unwrap();
        assert!(name.contains(worker), "{names}");
    }
}

#[test]
fn bdd() {
    let project = project(&["pytest_bdd.plugin"])
        .file(
            "shop.feature",
            "Feature: Shop\n  Scenario: Buy\n    Given a basket\n    When I add 2 items\n    Then it holds 2 items\n",
        )
        .file(
            "test_it.py",
            "from pytest_bdd import given, parsers, scenarios, then, when\n\
             scenarios('shop.feature')\n\
             @given('a basket', target_fixture='basket')\n\
             def basket(): return []\n\
             @when(parsers.parse('I add {count:d} items'))\n\
             def add(basket, count): basket.extend(range(count))\n\
             @then(parsers.parse('it holds {count:d} items'))\n\
             def holds(basket, count): assert len(basket) == count\n",
        );
    compare(&project, &[]);
}

#[test]
fn dependency_in_one_group() {
    let project = project(&["pytest_dependency"]).file(
        "test_it.py",
        "import pytest\n\
         pytestmark = pytest.mark.xdist_group('together')\n\
         @pytest.mark.dependency\n\
         def test_base(): assert 0\n\
         @pytest.mark.dependency(depends=['test_base'])\n\
         def test_above(): pass\n\
         @pytest.mark.dependency\n\
         def test_alone(): pass\n",
    );
    let (_, output) = compare(&project, &[]);
    assert!(output.said().is_empty(), "{output:#?}");
    project.write(
        "test_it.py",
        &project.read("test_it.py").replace("'together'", "name='together'").replace("pytestmark", "unused"),
    );
    assert!(rpt(&project, &[]).said()[0].contains("pytest-dependency knows tests of one worker only"));
}

#[test]
fn syrupy_reports_unused_snapshots() {
    let project = project(&["syrupy"]).file(
        "test_it.py",
        "import pytest\n\
         @pytest.mark.parametrize('number', range(6))\n\
         def test_snapshot(snapshot, number): assert {'number': number} == snapshot\n",
    );
    pytest(&project, &["--snapshot-update"]).assert_code(0);
    let kept = project.read("__snapshots__/test_it.ambr");
    let run = rpt(&project, &[]);
    run.assert_code(0);
    assert!(run.stderr().contains("6 snapshots passed"), "{run:#?}");
    project.write("test_it.py", &project.read("test_it.py").replace("range(6)", "range(4)"));
    let (theirs, ours) = (pytest(&project, &[]), rpt(&project, &[]));
    assert_eq!(ours.code(), theirs.code(), "{ours:#?}");
    for said in ["4 snapshots passed", "2 snapshots unused"] {
        assert!(theirs.text().contains(said), "{theirs:#?}");
        assert!(ours.stderr().contains(said), "{ours:#?}");
    }
    assert_eq!(project.read("__snapshots__/test_it.ambr"), kept);
}

#[test]
fn a_server_of_the_session_is_each_workers_own() {
    let project = project(&["pytest_httpserver.pytest_plugin"]);
    for file in ["a", "b"] {
        project.write(
            &format!("test_{file}.py"),
            "import os, time, pytest, urllib.request\n\
             @pytest.mark.parametrize('number', range(8))\n\
             def test_served(httpserver, number):\n\
             \x20   httpserver.expect_request('/it').respond_with_data(str(number))\n\
             \x20   assert urllib.request.urlopen(httpserver.url_for('/it')).read() == str(number).encode()\n\
             \x20   open('servers', 'a').write(f'{os.getpid()} {httpserver.port}\\n')\n\
             \x20   time.sleep(0.02)\n",
        );
    }
    compare(&project, &[]);
    std::fs::remove_file(project.path().join("servers")).unwrap();
    rpt(&project, &[]).assert_code(0);
    // One for the session of each worker, not one for each test.
    let text = project.read("servers");
    let told: BTreeSet<&str> = text.lines().collect();
    let (processes, ports): (BTreeSet<_>, BTreeSet<_>) = told.iter().map(|line| line.split_once(' ').unwrap()).unzip();
    assert_eq!((told.len(), processes.len(), ports.len()), (2, 2, 2), "{told:?}");
}

#[test]
fn benchmark_is_off_with_workers_as_with_xdist() {
    let project = project(&["pytest_benchmark.plugin"])
        .file("test_it.py", "def test_fast(benchmark): assert benchmark(lambda: 1) == 1\ndef test_other(): pass\n");
    let output = rpt(&project, &[]);
    assert_eq!(output.results().iter().filter(|(_, outcome)| outcome == "passed").count(), 2, "{output:#?}");
    assert!(output.said()[0].contains("pytest-benchmark measures nothing with workers"), "{output:#?}");
}

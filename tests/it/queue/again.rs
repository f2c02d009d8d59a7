//! Leases that a node loses and gets again while it still runs what they are about, and those of which
//! it was never told.

use ::postgres::Client;

use super::{Team, WAITING, together};
use crate::command::Running;
use crate::postgres;
use crate::process::poll;

const OTHER: &str = "def test_other(): pass\n";

/// One node in the middle of a test, and the plan's tables.
fn in_the_middle(files: &[(&str, &str)], workers: &str) -> (Team, Running, Client) {
    let team = Team::new(1, files);
    let node = team.node(0).args(["-n", workers]).start();
    assert!(poll(|| team.nodes[0].path().join("began").exists()));
    let client = postgres::shared().client(postgres::name_of(&team.url));
    (team, node, client)
}

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM rpt_queue.unit WHERE {sql}"), &[]).unwrap().get(0)
}

/// All passed, each once, and the plan has nothing left.
fn assert_all_passed(team: &Team, node: Running, tests: usize) {
    team.nodes[0].write("go", "");
    let output = node.finish();
    output.assert_code(0);
    assert_eq!(together(&[output]).len(), tests);
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!((&verdict["passed"], &verdict["complete"]), (&tests.into(), &true.into()), "{verdict}");
}

#[test]
fn a_unit_that_its_own_node_leases_again_goes_on() {
    let (team, node, mut client) = in_the_middle(&[("test_it.py", WAITING)], "2");
    let taken = client.execute(
        "UPDATE rpt_queue.unit SET state = 0, token = token + 1, takedowns = 1, node = NULL WHERE state = 1",
        &[],
    );
    assert_eq!(taken.unwrap(), 1);
    assert!(poll(|| count(&mut client, "state = 1 AND token = 3") == 1));
    assert_all_passed(&team, node, 3);
}

#[test]
fn parts_of_a_unit_that_was_cut_go_on_where_they_run() {
    let (team, node, mut client) = in_the_middle(&[("test_it.py", WAITING)], "2");
    let cut = "
        WITH gone AS (
            UPDATE rpt_queue.unit SET state = 3, token = token + 1 WHERE state = 1 RETURNING plan, tests
        )
        INSERT INTO rpt_queue.unit (plan, rank, takedowns, tests)
        SELECT plan, 0, 2, substring(tests FROM place FOR 4) FROM gone, generate_series(1, length(tests), 4) AS place";
    assert_eq!(client.execute(cut, &[]).unwrap(), 3);
    // It is one suspect at a time: the one that waits is leased at some time, the others end.
    assert!(poll(|| count(&mut client, "state = 1") == 1 || count(&mut client, "state = 2") == 2));
    assert_all_passed(&team, node, 3);
}

#[test]
fn a_lease_whose_answer_did_not_come_is_taken_up() {
    let files = [("test_a.py", WAITING), ("test_b.py", OTHER), ("test_c.py", OTHER), ("test_d.py", OTHER)];
    let (team, node, mut client) = in_the_middle(&files, "1");
    // It is what the server does where a statement was on its way while the node connected again.
    let sql = "UPDATE rpt_queue.unit SET state = 1, token = token + 1, node = (SELECT node FROM rpt_queue.node)
               WHERE state = 0";
    assert!(client.execute(sql, &[]).unwrap() > 0);
    assert_all_passed(&team, node, 6);
}

//! Owns a load of simulated machines on the queue of a real server: each leases units, sleeps for as long
//! as their tests would take, and completes them. `scripts/bench-queue` runs it; its arguments are the
//! server's URL, the number of machines, of tests, and of tests' milliseconds in the mean. Prints one line of
//! JSON: claim latencies of units that were there, in milliseconds, and how long it all took.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

mod draw;

use std::ffi::OsString;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use draw::Draw;
use rpt::location::Location;
use rpt::queue::cut::cut;
use rpt::queue::key::PlanKey;
use rpt::queue::listing::Listing;
use rpt::queue::{Asked, Completed, NodeHandle, Piece, Said, Wanted, join};
use rpt::result::passed;

const FILE: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let number = |place: usize| args.get(place).and_then(|text| text.to_str()?.parse::<usize>().ok());
    let (Some(url), Some(nodes), Some(tests), Some(mean_ms)) = (args.first(), number(1), number(2), number(3)) else {
        return println!("queue_load URL MACHINES TESTS MILLISECONDS");
    };
    let mut draw = Draw::new(1);
    let times: Vec<u64> = (0..tests).map(|_| (mean_ms as f64 * 606.5 * draw.normal().exp()) as u64 + 1).collect();
    let ids: Vec<String> =
        (0..tests).map(|test| format!("tests/t{:05}.py::test_{:02}", test / FILE, test % FILE)).collect();
    let (listing, _) = Listing::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let Location::Server(url) = Location::from(url.clone()) else { return println!("{url:?} is no URL") };
    let key = PlanKey { key: format!("load {}", std::process::id()), attempt: None };
    let began = Instant::now();
    let (sender, latencies) = channel();
    std::thread::scope(|scope| {
        for node in 0..nodes {
            let (url, key, listing, times, sender) = (&url, &key, &listing, &times, sender.clone());
            scope.spawn(move || {
                let name = format!("node{node}");
                let lease = Duration::from_secs(30);
                let asked = Asked { url, key, resume: false, name: &name, lease, kind: "simulated", listing };
                let pieces = |_: &_| {
                    let files = (0..tests as u32).collect::<Vec<_>>();
                    let piece = |tests: &[u32]| Piece { tests: tests.to_vec(), is_whole: false, alone: false };
                    let time = |test: u32| times[test as usize];
                    cut(files.chunks(FILE).map(piece).collect(), Some(&time), (nodes as u64).max(64))
                };
                match join(&asked, &pieces) {
                    Ok(joined) => {
                        let (say, hear) = channel();
                        let handle = NodeHandle::start(joined, PATIENCE, move |said| say.send(said).is_ok());
                        work(&handle, &hear, listing, times, &sender);
                        drop(handle.leave(0, 0).recv());
                    }
                    Err(error) => println!("{error}"),
                }
            });
        }
    });
    drop(sender);
    let mut latencies: Vec<f64> = latencies.into_iter().collect();
    latencies.sort_by(f64::total_cmp);
    let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0.0);
    println!(
        "{{\"machines\":{nodes},\"tests\":{tests},\"units\":{},\"claim_median_ms\":{:.2},\"claim_p99_ms\":{:.2},\"seconds\":{:.2},\"bound_s\":{:.2}}}",
        latencies.len(),
        quantile(0.5),
        quantile(0.99),
        began.elapsed().as_secs_f64(),
        times.iter().sum::<u64>() as f64 / nodes as f64 / 1e6
    );
}

/// One machine with one worker.
fn work(
    handle: &NodeHandle,
    hear: &std::sync::mpsc::Receiver<Said>,
    listing: &Listing,
    times: &[u64],
    latencies: &std::sync::mpsc::Sender<f64>,
) {
    let mut asked = Instant::now();
    handle.want(Wanted { suspects: true, alone: true });
    while let Ok(said) = hear.recv() {
        match said {
            Said::Leased(leased) => {
                // Nobody hears of it any more only where the program ended.
                let _ = latencies.send(asked.elapsed().as_secs_f64() * 1000.0);
                let took: u64 = leased.tests.iter().map(|&test| times[test as usize]).sum();
                std::thread::sleep(Duration::from_micros(took));
                let result = |&test: &u32| {
                    let id = listing.id(test).unwrap_or_default();
                    (test, passed(id, "gw0", 0.0, times[test as usize] as f64 / 1e6))
                };
                let verdicts = leased.tests.iter().map(result).collect();
                let (unit, token) = (leased.unit, leased.token);
                handle.complete(Completed { unit, token, verdicts, again: Vec::new(), rest: Vec::new() });
                asked = Instant::now();
                handle.want(Wanted { suspects: true, alone: true });
            }
            Said::Over => return,
            Said::GivenUp(reason) => return println!("{reason}"),
            Said::Settled { .. } | Said::Buried(_) | Said::Others(_) | Said::Away(_) | Said::Back => {}
        }
    }
}

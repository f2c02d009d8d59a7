//! Owns writing the ordered stream: as records, or as a view for people.

use std::io::Write;

use anyhow::Result;
use rpt::cli::one_line;
use rpt::estimate::Estimates;
use rpt::order::Placed;
use rpt::record::{CollectError, Kind};
use rpt::stream::{Input, OutputForm, StreamError, Writer};

/// A stream whose tests have new places.
pub(crate) struct Order<'a> {
    /// The stream as it was read.
    pub(crate) input: &'a Input,
    /// Which of its records are tests.
    pub(crate) tests: &'a [usize],
    /// The tests in their new order.
    pub(crate) placed: &'a [Placed],
    /// The tests' expected times.
    pub(crate) estimates: &'a Estimates,
}

/// Writes `order` to stdout; `why` says why a test stands where it stands.
pub(crate) fn write(order: &Order, form: OutputForm, explain: bool, why: impl Fn(Placed) -> String) -> Result<()> {
    let stdout = std::io::stdout().lock();
    match form {
        OutputForm::Records(form) => Ok(write_records(order, Writer::new(stdout, form), explain, why)?),
        OutputForm::Text => Ok(write_text(order, std::io::BufWriter::new(stdout), why).map_err(StreamError::Write)?),
    }
}

fn write_records<W: Write>(
    order: &Order,
    mut out: Writer<W>,
    explain: bool,
    why: impl Fn(Placed) -> String,
) -> Result<(), StreamError> {
    let mut next = order.placed.iter();
    for record in &order.input.records {
        let placed = if record.kind.is_test() { next.next() } else { None };
        let Some(&placed) = placed else {
            out.forward(order.input, record)?;
            continue;
        };
        let test = &order.input.records[order.tests[placed.subject]];
        if explain {
            let expected_ms = order.estimates.time_ms(placed.subject);
            let fields = [("why", why(placed).into()), ("expected_ms", expected_ms.into())];
            out.forward_with(order.input, test, &fields)?;
        } else {
            out.forward(order.input, test)?;
        }
    }
    out.flush()
}

/// A line for each test: its place, the time it is expected to take, its id and
/// why it stands there; a file that could not be collected is named in its place.
fn write_text(order: &Order, mut out: impl Write, why: impl Fn(Placed) -> String) -> std::io::Result<()> {
    let mut next = order.placed.iter().enumerate();
    for record in &order.input.records {
        match record.kind {
            Kind::Test | Kind::Result => {
                let Some((place, &placed)) = next.next() else { continue };
                let test = &order.input.records[order.tests[placed.subject]];
                let time = order.estimates.time_ms(placed.subject);
                let time = time.map_or_else(|| "-".to_string(), |time| format!("{:.3} s", time / 1000.0));
                let (id, why) = (one_line(&test.node_id), one_line(&why(placed)));
                writeln!(out, "{:>6}  {time:>10}  {id}  ({why})", place + 1)?;
            }
            Kind::CollectError => {
                if let Ok(error) = order.input.decode::<CollectError>(record) {
                    writeln!(out, "{:>6}  {:>10}  {}  (not collected)", "!", "", one_line(&error.file_path))?;
                }
            }
            _ => {}
        }
    }
    out.flush()
}

//! What `/debug/api_priority_and_fairness/` shows: a row for each level, queue or request, as upstream's
//! `util/flowcontrol/apf_controller_debug.go` lays them out. Levels are in the order of their names.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use super::Fairness;
use super::ledger::Record;
use super::state::Running;

const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

type Rows = Vec<Vec<String>>;

impl Fairness {
    /// The page `dump_priority_levels`, `dump_queues` or `dump_requests`, as text; the last says with `details` what is
    /// asked for. `None` for another page.
    pub(crate) fn dump(&self, page: &str, details: bool) -> Option<String> {
        let view = self.view();
        let mut state = self.state.lock();
        state.follow(&view);
        let mut all: Vec<&Running> = state.levels.iter().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let kept = view.levels.iter().map(|level| level.name.as_str()).collect();
        let levels = Levels { all, kept, executing: self.ledger.executing() };
        let more: &[&str] = if details { &DETAILS } else { &[] };
        let (header, rows) = match page {
            "dump_priority_levels" => (LEVELS.to_vec(), levels.rows()),
            "dump_queues" => (QUEUES.to_vec(), levels.queues()),
            "dump_requests" => ([&REQUESTS, more].concat(), self.requests(&levels, details)),
            _ => return None,
        };
        let header = header.into_iter().map(str::to_owned).collect();
        Some(aligned(&[vec![header], rows].concat()))
    }

    fn requests(&self, levels: &Levels<'_>, details: bool) -> Rows {
        let mut rows = Rows::new();
        for level in &levels.all {
            let mut put = |queue: Option<usize>, at: Option<usize>, record: &Record| {
                rows.push(self.request(level, (queue, at), record, details));
            };
            let executing = levels.of(level);
            let queues = level.queues.iter().flat_map(|queues| queues.seen()).enumerate();
            for (index, queue) in queues {
                for (at, id) in queue.waiting.iter().enumerate() {
                    if let Some(one) = level.waiting.get(id) {
                        put(Some(index), Some(at), &one.record);
                    }
                }
                for record in executing.iter().filter(|record| record.queue == Some(index)) {
                    put(Some(index), None, record);
                }
            }
            for record in executing.iter().filter(|record| record.queue.is_none()) {
                put(None, None, record);
            }
        }
        rows
    }

    fn request(
        &self,
        level: &Running,
        (queue, at): (Option<usize>, Option<usize>),
        record: &Record,
        details: bool,
    ) -> Vec<String> {
        let index = |index: Option<usize>| index.map_or("-1".to_owned(), |index| index.to_string());
        // Go's zero time is that of a request that has not begun
        let began = record.began.map_or("0001-01-01T00:00:00Z".to_owned(), |at| self.at(at));
        let mut row = vec![
            level.name.clone(),
            record.schema().to_owned(),
            index(queue),
            index(at),
            record.flow().to_owned(),
            self.at(record.arrived),
            record.seats.to_string(),
            // no seat is kept for what comes after a request
            "0".to_owned(),
            "0s".to_owned(),
            began,
        ];
        if details {
            let info = &record.info;
            let version = sampan_api::meta::to_api_version(&info.group, &info.version);
            row.extend([record.user.name.clone(), info.verb.clone(), info.path.clone()]);
            row.extend([info.namespace.clone(), info.name.clone(), version]);
            row.extend([info.resource.clone(), info.subresource.clone()]);
        }
        row
    }

    /// A moment that is told in nanoseconds since the beginning.
    fn at(&self, nanoseconds: u64) -> String {
        let since = SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX));
        self.began_at.checked_add(since).unwrap_or(Timestamp::MAX).to_string()
    }
}

/// The levels, which of them still have an object, and what is executed.
struct Levels<'a> {
    all: Vec<&'a Running>,
    kept: Vec<&'a str>,
    executing: Vec<Record>,
}

impl Levels<'_> {
    fn of(&self, level: &Running) -> Vec<&Record> {
        let of = |record: &&Record| record.level().is_some_and(|one| one.name == level.name);
        self.executing.iter().filter(of).collect()
    }

    fn rows(&self) -> Rows {
        let row = |level: &&Running| {
            let seen = level.queues.iter().flat_map(|queues| queues.seen());
            let active = seen.filter(|queue| !queue.waiting.is_empty()).count();
            let (waiting, executing) = (level.waiting.len(), self.of(level).len());
            let idle = waiting == 0 && executing == 0;
            let quiescing = !self.kept.contains(&level.name.as_str());
            let [dispatched, rejected, cancelled] = level.tally.read();
            let mut row = vec![level.name.clone(), active.to_string(), idle.to_string()];
            row.extend([quiescing.to_string(), waiting.to_string(), executing.to_string()]);
            // time-outs are among the cancelled, as upstream's
            row.extend([dispatched, rejected, 0, cancelled].map(|count| count.to_string()));
            row
        };
        self.all.iter().map(row).collect()
    }

    fn queues(&self) -> Rows {
        let work = |seat_seconds: f64| format!("{:.8}ss", seat_seconds.max(0.0));
        let mut rows = Rows::new();
        for level in &self.all {
            for (index, queue) in level.queues.iter().flat_map(|queues| queues.seen()).enumerate() {
                let seats = queue.waiting_seats.to_string();
                let mut row = vec![level.name.clone(), index.to_string(), queue.waiting.len().to_string()];
                row.extend([queue.executing.to_string(), queue.executing_seats.to_string()]);
                row.extend([work(queue.next), seats.clone(), seats, work(queue.work)]);
                rows.push(row);
            }
        }
        rows
    }
}

/// Cells with commas behind them in columns at least eight wide: Go's `tabwriter` with a padding of one.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let wide = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + 2).max().unwrap_or(0).max(8)
    };
    let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(wide).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            // writing to a String cannot fail
            let _ = write!(text, "{:width$}", format!("{cell},"));
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = aligned(&[row(["PriorityLevelName", "Index", "x"]), row(["a", "0", "long"])]);
        assert_eq!(text, "PriorityLevelName, Index,  x\na,                 0,      long\n");
    }
}

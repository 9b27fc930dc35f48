//! The wall clock, for output formats. Nothing else in the program's commands reads it.

#![expect(clippy::disallowed_types, reason = "what a user sees printed is the system's time")]

use std::time::Duration;
use std::time::SystemTime;

use crate::time::Timestamp;

/// A moment as people write it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    since_epoch: Duration,
}

impl Moment {
    /// The system's time. Before 1970 it is 1970.
    pub(crate) fn now() -> Self {
        let now = SystemTime::now();
        Self { since_epoch: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() }
    }

    /// The same as the log has it.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::EPOCH + self.since_epoch
    }

    /// `20160810T094738Z`, for names of files.
    pub(crate) fn file_name(self) -> String {
        format!("{}T{}Z", self.date(), self.time_of_day()).replace(['-', ':'], "")
    }

    /// `2016-08-10T09:47:38+0000`.
    pub(crate) fn iso(self) -> String {
        format!("{}T{}+0000", self.date(), self.time_of_day())
    }

    /// `2016-08-10T09:47:38.123456+0000`.
    pub(crate) fn iso_micros(self) -> String {
        let micros = self.since_epoch.subsec_micros();
        format!("{}T{}.{micros:06}+0000", self.date(), self.time_of_day())
    }

    /// Seconds since the Unix epoch, with nanoseconds: `1470818943.786368637`.
    pub(crate) fn unix(self) -> String {
        format!("{}.{:09}", self.since_epoch.as_secs(), self.since_epoch.subsec_nanos())
    }

    /// What strftime(3) prints for this conversion, and `N` for nanoseconds; `None` for one that we don't know.
    pub(crate) fn strftime(self, conversion: char) -> Option<String> {
        let date = self.date();
        let time = self.time_of_day();
        let part = |text: &str, from: usize, to: usize| text.get(from..to).map(ToOwned::to_owned);
        match conversion {
            'Y' => part(&date, 0, 4),
            'y' => part(&date, 2, 4),
            'm' => part(&date, 5, 7),
            'd' => part(&date, 8, 10),
            'H' => part(&time, 0, 2),
            'M' => part(&time, 3, 5),
            'S' => part(&time, 6, 8),
            'F' => Some(date),
            'T' => Some(time),
            'R' => part(&time, 0, 5),
            's' => Some(self.since_epoch.as_secs().to_string()),
            'N' => Some(format!("{:09}", self.since_epoch.subsec_nanos())),
            'z' => Some("+0000".to_owned()),
            'Z' => Some("UTC".to_owned()),
            _ => None,
        }
    }

    /// `2016-08-10`.
    fn date(self) -> String {
        self.rfc3339().chars().take(10).collect()
    }

    /// `09:47:38`.
    fn time_of_day(self) -> String {
        self.rfc3339().chars().skip(11).take(8).collect()
    }

    fn rfc3339(self) -> String {
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + self.since_epoch).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_printed_in_utc() {
        let moment = Moment { since_epoch: Duration::new(1_470_822_458, 12_345_678) };
        assert_eq!(moment.file_name(), "20160810T094738Z");
        assert_eq!(moment.iso(), "2016-08-10T09:47:38+0000");
        assert_eq!(moment.iso_micros(), "2016-08-10T09:47:38.012345+0000");
        assert_eq!(moment.unix(), "1470822458.012345678");
        let all: String = "YymdHMSFTRsNzZ"
            .chars()
            .filter_map(|c| moment.strftime(c))
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            all,
            "2016 16 08 10 09 47 38 2016-08-10 09:47:38 09:47 1470822458 012345678 +0000 UTC"
        );
        assert_eq!(moment.strftime('Q'), None);
    }
}

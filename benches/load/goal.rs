//! What a scenario is to reach, mostly as a ratio to a peer in the same run.

use std::fmt;

use crate::figures::Figures;
use crate::figures::Measure;

/// A goal for our figures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At least so many times a peer's.
    Times(Measure, &'static str, f64),
    /// At most so many times a peer's.
    AtMostTimes(Measure, &'static str, f64),
    /// At most so many times that of another case, by its title.
    AtMostTimesCase(Measure, &'static str, f64),
    AtLeast(Measure, f64),
    AtMost(Measure, f64),
    /// At most so much above another figure of the same run.
    AtMostAbove(Measure, Measure, f64),
}

/// Where a goal finds what it is compared with.
pub(crate) trait Results {
    /// A broker's medians for a case; for the present one if no title is given.
    fn medians(&self, case: Option<&str>, peer: &str) -> Option<&Figures>;
}

impl Goal {
    /// What we have in the goal's own unit, and whether that is enough; `None` if something was not measured.
    pub(crate) fn judge(self, results: &impl Results) -> Option<(f64, bool)> {
        let ours = results.medians(None, "tidelog")?;
        let ratio = |measure, case, peer| -> Option<f64> {
            Some(ours.get(measure)? / results.medians(case, peer)?.get(measure)?)
        };
        Some(match self {
            Self::Times(measure, peer, factor) => {
                let reached = ratio(measure, None, peer)?;
                (reached, reached >= factor)
            }
            Self::AtMostTimes(measure, peer, factor) => {
                let reached = ratio(measure, None, peer)?;
                (reached, reached <= factor)
            }
            Self::AtMostTimesCase(measure, case, factor) => {
                let reached = ratio(measure, Some(case), "tidelog")?;
                (reached, reached <= factor)
            }
            Self::AtLeast(measure, least) => {
                let reached = ours.get(measure)?;
                (reached, reached >= least)
            }
            Self::AtMost(measure, most) => {
                let reached = ours.get(measure)?;
                (reached, reached <= most)
            }
            Self::AtMostAbove(measure, base, most) => {
                let reached = ours.get(measure)? - ours.get(base)?;
                (reached, reached <= most)
            }
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(measure, peer, factor) => {
                write!(f, "{} at least {factor} x {peer}", measure.name())
            }
            Self::AtMostTimes(measure, peer, factor) => {
                write!(f, "{} at most {factor} x {peer}", measure.name())
            }
            Self::AtMostTimesCase(measure, case, factor) => {
                write!(f, "{} at most {factor} x '{case}'", measure.name())
            }
            Self::AtLeast(measure, least) => write!(f, "{} at least {least}", measure.name()),
            Self::AtMost(measure, most) => write!(f, "{} at most {most}", measure.name()),
            Self::AtMostAbove(measure, base, most) => {
                write!(f, "{} at most {} + {most}", measure.name(), base.name())
            }
        }
    }
}

//! When a run ends.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The conditions that end a run; the first that holds does.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    trials: u64,
    timeout: Option<Duration>,
}

impl Stop {
    /// Ends when the study holds `trials` finished ones (those of earlier runs and of other processes count; so do
    /// pruned and failed ones), or when `timeout_s` seconds have passed and the running trials are finished.
    ///
    /// # Errors
    /// [`Error::Study`] for less than one trial or for a time that is not positive.
    pub fn new(trials: i64, timeout_s: Option<f64>) -> Result<Self> {
        if trials < 1 {
            return Err(Error::Study(format!(
                "trials is {trials}; expected 1 or more, the number of finished trials wanted in the study in all"
            )));
        }
        let timeout = match timeout_s {
            None => None,
            // Beyond what a Duration can hold is for ever.
            Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).ok(),
            Some(seconds) => {
                return Err(Error::Study(format!(
                    "timeout_s is {seconds}; expected more than 0 seconds, or None for no limit"
                )));
            }
        };
        Ok(Stop { trials: trials.unsigned_abs(), timeout })
    }

    pub(super) fn trials(&self) -> u64 {
        self.trials
    }

    /// When the time is up for a run that starts now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The study holds the wanted number of finished trials.
    Trials,
    /// The time was up.
    Timeout,
    /// The algorithm has no more points to propose.
    Exhausted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_checked() {
        assert_eq!(
            Stop::new(0, None).unwrap_err().to_string(),
            "trials is 0; expected 1 or more, the number of finished trials wanted in the study in all"
        );
        assert_eq!(
            Stop::new(1, Some(-1.0)).unwrap_err().to_string(),
            "timeout_s is -1; expected more than 0 seconds, or None for no limit"
        );
        assert!(Stop::new(1, Some(f64::NAN)).is_err());
        assert!(Stop::new(1, Some(1e300)).unwrap().deadline().is_none());
    }
}

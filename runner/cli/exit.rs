//! The exit codes: documented, fixed, and nowhere else.

use engine::events::End;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Good = 0,
    /// A step failed, or a check did not hold.
    Failed = 1,
    /// The user made a mistake: in a manifest, on the command line, in what is there to read.
    Mistake = 2,
    /// We made a mistake, or the machine did: a full disk, a store that cannot be read.
    Broken = 70,
    /// The run's budget is used up; another run goes on.
    Budget = 75,
    /// It was asked to stop.
    Interrupted = 130,
}

impl From<End> for Exit {
    fn from(end: End) -> Self {
        match end {
            End::Good => Self::Good,
            End::Failed => Self::Failed,
            End::Interrupted => Self::Interrupted,
            End::Budget => Self::Budget,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

//! Which faults come in which order: a pure function of the seed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::support::kafka::Way;

/// One fault and the quiet time behind it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) fault: Fault,
    pub(super) target: Target,
    pub(super) quiet: Duration,
}

/// The broker that a fault hits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The one that leads this partition of every topic.
    Leader(usize),
    /// This one, counted from 0.
    Broker(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// SIGKILL, and a restart after this time.
    Kill {
        down: Duration,
    },
    /// SIGTERM, and a restart after this time.
    Terminate {
        down: Duration,
    },
    /// SIGSTOP, then SIGCONT.
    Stop {
        lasting: Duration,
    },
    /// Every partition gets another leader: the replica that is `by` positions further.
    MoveLeaders {
        by: usize,
    },
    Cut {
        lasting: Duration,
    },
    /// Afterwards the bytes arrive, or the connections break.
    Hang {
        lasting: Duration,
        breaks: bool,
    },
    Delay {
        each_way: Duration,
        lasting: Duration,
    },
    Slow {
        bytes_a_second: u32,
        lasting: Duration,
    },
    CutInFrame {
        way: Way,
        lasting: Duration,
    },
    LoseAnswers {
        lasting: Duration,
    },
    AddPartition,
    /// A topic takes only small batches for a while.
    Shrink {
        max_message_bytes: u32,
        lasting: Duration,
    },
}

/// Yields faults without end, in rounds with one of each kind, so that a short run has all of them.
pub(super) struct Script {
    rng: fastrand::Rng,
    round: VecDeque<Fault>,
    only: Vec<String>,
}

impl Script {
    /// With only the named kinds, or with all if none is named.
    pub(super) fn new(seed: u64, only: &[String]) -> Script {
        let script = |seed| Script {
            rng: fastrand::Rng::with_seed(seed),
            round: VecDeque::new(),
            only: only.to_vec(),
        };
        let all = script(0).deal();
        let kinds: Vec<_> = all.iter().map(Fault::kind).collect();
        for kind in only {
            assert!(
                kinds.contains(&kind.as_str()),
                "CHAOS_ONLY: {kind:?} is none of {kinds:?}"
            );
        }
        script(seed)
    }

    fn deal(&mut self) -> Vec<Fault> {
        let rng = &mut self.rng;
        let mut seconds =
            |from: f64, to: f64| Duration::from_secs_f64(from + rng.f64() * (to - from));
        let (killed, terminated, stopped) =
            (seconds(0.0, 8.0), seconds(0.0, 6.0), seconds(1.0, 20.0));
        let (cut, hanging, delayed) = (seconds(0.2, 10.0), seconds(1.0, 15.0), seconds(2.0, 6.0));
        let (slow, cutting, losing) = (seconds(2.0, 6.0), seconds(0.2, 3.0), seconds(0.5, 6.0));
        let (each_way, shrunk) = (seconds(0.005, 0.4), seconds(2.0, 6.0));
        let ways = [Way::ToBroker, Way::ToClient];
        let mut faults = vec![
            Fault::Kill { down: killed },
            Fault::Terminate { down: terminated },
            Fault::Stop { lasting: stopped },
            Fault::MoveLeaders {
                by: rng.usize(1..3),
            },
            Fault::Cut { lasting: cut },
            Fault::Hang {
                lasting: hanging,
                breaks: rng.bool(),
            },
            Fault::Delay {
                each_way,
                lasting: delayed,
            },
            Fault::Slow {
                bytes_a_second: rng.u32(2_000..40_000),
                lasting: slow,
            },
            Fault::CutInFrame {
                way: ways[rng.usize(0..2)],
                lasting: cutting,
            },
            Fault::LoseAnswers { lasting: losing },
            Fault::AddPartition,
            Fault::Shrink {
                max_message_bytes: rng.u32(2_000..6_000),
                lasting: shrunk,
            },
        ];
        rng.shuffle(&mut faults);
        faults
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        while self.round.is_empty() {
            let mut faults = self.deal();
            faults.retain(|fault| {
                self.only.is_empty() || self.only.iter().any(|kind| kind == fault.kind())
            });
            self.round = faults.into();
        }
        let fault = self.round.pop_front()?;
        let target = match self.rng.u8(0..10) {
            0..8 => Target::Leader(self.rng.usize(0..64)),
            _ => Target::Broker(self.rng.usize(0..64)),
        };
        Some(Step {
            fault,
            target,
            quiet: Duration::from_millis(self.rng.u64(500..2_500)),
        })
    }
}

impl Fault {
    /// The kind, for counts.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Fault::Kill { .. } => "killed",
            Fault::Terminate { .. } => "terminated",
            Fault::Stop { .. } => "stopped",
            Fault::MoveLeaders { .. } => "leaders moved",
            Fault::Cut { .. } => "cut",
            Fault::Hang { .. } => "hung",
            Fault::Delay { .. } => "delayed",
            Fault::Slow { .. } => "slowed",
            Fault::CutInFrame { .. } => "cut in frame",
            Fault::LoseAnswers { .. } => "answers lost",
            Fault::AddPartition => "partition added",
            Fault::Shrink { .. } => "messages shrunk",
        }
    }
}

/// The kind and how hard it was.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Fault::Kill { down } | Fault::Terminate { down } => write!(f, ", down for {down:.1?}"),
            Fault::Stop { lasting } | Fault::Cut { lasting } | Fault::LoseAnswers { lasting } => {
                write!(f, " for {lasting:.1?}")
            }
            Fault::MoveLeaders { by } => write!(f, " by {by}"),
            Fault::Hang { lasting, breaks } => {
                let end = if *breaks { "broken" } else { "let go" };
                write!(f, " for {lasting:.1?}, then {end}")
            }
            Fault::Delay { each_way, lasting } => {
                write!(f, " by {each_way:.0?} each way for {lasting:.1?}")
            }
            Fault::Slow {
                bytes_a_second,
                lasting,
            } => write!(f, " to {bytes_a_second} bytes/s for {lasting:.1?}"),
            Fault::CutInFrame { way, lasting } => write!(f, " {way:?} for {lasting:.1?}"),
            Fault::AddPartition => Ok(()),
            Fault::Shrink {
                max_message_bytes,
                lasting,
            } => write!(f, " to {max_message_bytes} bytes for {lasting:.1?}"),
        }
    }
}

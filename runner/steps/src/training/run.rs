//! A run: steps, measurements, checkpoints, and the model at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::AnyDevice;
use kernels::decoder::{Config, Save, WeightDtype, WeightFiles};
use kernels::train::{
    Data, Error, Evaluation, Limits, Measured, Meter, Record, Settings, Trainer, best_rate, gib,
    peak_bytes,
};
use serde_json::json;

use super::keep::Log;
use super::params::Settled;
use super::show::{Manner, Show};
use super::words::{parts, refused};
use crate::records::Output;
use crate::{Cx, Say, StepError};

/// All that a run needs.
pub(crate) struct Job<'a> {
    pub(crate) settled: Settled,
    pub(crate) config: &'a Config,
    pub(crate) weights: &'a WeightFiles,
    pub(crate) data: Data,
    /// How the model is saved.
    pub(crate) save: Save,
    /// How it is shown what the model answers on its way.
    pub(crate) shown: Option<Manner<'a>>,
}

/// What a kill costs at most, where the step has no `checkpoint`.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);
/// How often a line about the run goes to the step's log.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// More tokens at once make a processor no faster.
const MICRO_TOKENS: usize = 4096;

/// Trains, and writes the slots `model`, `log` and `metrics`.
pub(crate) fn run(mut job: Job<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
    let device = Arc::new(cx.device()?);
    let limits = limits(&device)?;
    job.settled.settings = fitting(&job, limits, cx)?;
    let (config, weights) = (job.config, job.weights);
    let settings = job.settled.settings.clone();
    let data = std::mem::take(&mut job.data);
    let show = job.shown.take().map(|it| Show::new(it, &data, job.settled.max_seq_len));
    let show = show.transpose()?;
    let trainer = Trainer::new(&*device, (config, weights), settings, data, limits)?;
    let (log, meter) = (Log::default(), Meter::new(Some(best_rate(&*device)?)));
    let now = Instant::now();
    let mut run = Run {
        settled: &job.settled,
        state: cx.state.join("training"),
        keep: cx.checkpoint.map_or(1, |it| it.keep),
        show: show.map(|it| Asked {
            show: it,
            device: &device,
            as_saved: (config, job.save.dtype),
        }),
        trainer,
        log,
        meter,
        saved: now,
        told: now,
        last: None,
        measured: None,
    };
    run.resume(cx)?;
    run.all(cx)?;
    run.trainer.save(cx.output("model")?, config, &job.save)?;
    run.write(cx)
}

/// Nine tenths of the device's memory.
fn limits(device: &AnyDevice) -> Result<Limits, StepError> {
    let available = match device.memory_bytes()? {
        0 => u64::MAX,
        it => it / 10 * 9,
    };
    Ok(Limits { available, micro_tokens: MICRO_TOKENS })
}

/// The settings with the level of recomputation that makes the run fastest in this memory; says the plan.
fn fitting(job: &Job<'_>, limits: Limits, cx: &mut Cx<'_>) -> Result<Settings, StepError> {
    let (settings, levels) = (&job.settled.settings, &job.settled.levels);
    let texts = (&job.data, limits);
    let (settings, plan, steps) =
        Trainer::<AnyDevice>::fastest(job.config, settings, levels, texts)
            .map_err(|it| refused(job.settled.kind, it))?;
    let (total, micro, parts) = (gib(plan.total()), plan.micro_tokens, parts(&plan));
    (cx.report)(Say::Note(format!(
        "{steps} steps, {micro} tokens at once; {total} of memory: {parts}; computed again: {}",
        settings.recompute.word()
    )));
    Ok(settings)
}

/// What is asked on the way, of the model as it would be saved.
struct Asked<'a> {
    show: Show<'a>,
    device: &'a Arc<AnyDevice>,
    as_saved: (&'a Config, WeightDtype),
}

struct Run<'a> {
    settled: &'a Settled,
    state: PathBuf,
    /// How many checkpoints stay.
    keep: usize,
    show: Option<Asked<'a>>,
    trainer: Trainer<'a, AnyDevice>,
    log: Log,
    meter: Meter,
    saved: Instant,
    told: Instant,
    last: Option<Record>,
    measured: Option<Evaluation>,
}

impl Run<'_> {
    /// Goes on from the newest checkpoint that is whole. Without the log up to it none is of use.
    fn resume(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let say = |cx: &mut Cx<'_>, text: String| (cx.report)(Say::Note(text));
        for (path, why) in Trainer::<AnyDevice>::put_damaged_aside(&self.state)? {
            let name = path.file_name().unwrap_or_default().display();
            say(cx, format!("checkpoint `{name}` is damaged and is not gone on from: {why}"));
        }
        if Log::damage(&self.state).is_some() {
            std::fs::remove_dir_all(&self.state).map_err(StepError::io(&self.state))?;
            say(cx, "the log of the run so far is damaged: it begins anew".to_owned());
            return Ok(());
        }
        if !self.trainer.resume(&self.state)? {
            return Ok(());
        }
        let done = self.trainer.done();
        let log = Log::resume(&self.state, done)?;
        // It is written before the checkpoint, and was whole a moment ago.
        self.log = log.ok_or(StepError::Wiring { what: "log", name: "training" })?;
        say(cx, format!("goes on after step {done}"));
        Ok(())
    }

    fn all(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let skipped = self.trainer.done();
        if skipped == 0 {
            self.evaluate()?;
        }
        while self.trainer.done() < self.trainer.steps() {
            if (cx.stop)() {
                self.checkpoint()?;
                return Err(StepError::Stopped);
            }
            let record = match self.trainer.step() {
                Ok(Some(it)) => it,
                Ok(None) => break,
                Err(Error::NotFinite(crash)) => {
                    let path = self.state.join(format!("crash-{}.json", crash.step));
                    std::fs::create_dir_all(&self.state).map_err(StepError::io(&self.state))?;
                    crash.write(&path)?;
                    (cx.report)(Say::Note(format!("the batch is in `{}`", path.display())));
                    return Err(Error::NotFinite(crash).into());
                }
                Err(it) => return Err(it.into()),
            };
            let measured = self.meter.take(&record);
            self.log.step(&record);
            if self.tell(&record, &measured, skipped, cx) {
                // For who watches; with a checkpoint it is kept anyway.
                self.log.show(&self.state)?;
            }
            self.last = Some(record);
            self.between(cx)?;
        }
        Ok(())
    }

    /// What stands between two steps.
    fn between(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let (done, steps) = (self.trainer.done(), self.trainer.steps());
        let due = |every: Option<u64>| every.is_some_and(|it| done.is_multiple_of(it));
        if done == steps || due(self.settled.eval_steps) {
            self.evaluate()?;
        }
        let every = cx.checkpoint.map_or(CHECKPOINT_EVERY, |it| it.every);
        if done < steps && (due(self.settled.save_steps) || self.saved.elapsed() >= every) {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<(), StepError> {
        if let Some(it) = self.trainer.evaluate()? {
            self.log.evaluation(&it);
            self.measured = Some(it);
        }
        if let Some(Asked { show, device, as_saved }) = &self.show {
            for line in show.lines(device, *as_saved, &self.trainer)? {
                self.log.line(self.trainer.done(), line);
            }
        }
        self.meter.pause_ends();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StepError> {
        self.log.keep(&self.state)?;
        self.trainer.checkpoint_keeping(&self.state, self.keep)?;
        self.saved = Instant::now();
        self.meter.pause_ends();
        Ok(())
    }

    /// Says how far the run is; whether it was time for more than that.
    fn tell(&mut self, it: &Record, measured: &Measured, skipped: u64, cx: &mut Cx<'_>) -> bool {
        let (done, total, unit) = (it.step, Some(it.steps), "steps".to_owned());
        (cx.report)(Say::Progress { done, total, unit, skipped });
        if self.told.elapsed() < TELL_EVERY && it.step != it.steps && it.step != 1 {
            return false;
        }
        self.told = Instant::now();
        (cx.report)(Say::Note(format!(
            "step {} of {}: loss {:.4}, learning rate {:.3e}, gradient {:.3}, {:.0} tokens/s ({:.0} % of a \
             product's rate), {:.0} s left, {} at most",
            it.step,
            it.steps,
            it.loss,
            it.learning_rate,
            it.grad_norm,
            measured.tokens_per_second,
            measured.utilization.unwrap_or(0.0) * 100.0,
            measured.seconds_left,
            gib(peak_bytes()),
        )));
        true
    }

    fn write(self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut log = Output::create(cx.output("log")?)?;
        log.bytes(self.log.text().as_bytes())?;
        log.finish()?;
        let metrics = json!({
            "steps": self.trainer.steps(),
            "loss": self.last.as_ref().map(|it| it.loss),
            "eval_loss": self.measured.map(|it| it.loss),
        });
        let mut output = Output::create(cx.output("metrics")?)?;
        output.line(format!("{metrics:#}").as_bytes())?;
        output.finish()?;
        cx.count("steps", self.trainer.steps());
        Ok(())
    }
}

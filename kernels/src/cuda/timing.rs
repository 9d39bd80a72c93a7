//! What the device's own clock says: moments in the stream's order, and the time of every kernel of some work.
//!
//! The host's clock sees launches and waits as well; an event is taken by the device when it comes to it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use cudarc::driver::CudaEvent;
use cudarc::driver::sys::CUevent_flags;

use super::{Cuda, Kernel, refused};
use crate::Result;

/// A moment in the order of what was launched.
pub struct Event(CudaEvent);

/// What the launches of one kernel took together.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its function, file and what is defined.
    pub kernel: String,
    /// How often it was launched.
    pub launches: usize,
    /// From before to after each launch. Where the device waits for the host, that counts as well.
    pub seconds: f64,
}

/// Launches that are timed: the kernel, and the moments before and after it.
pub(super) type Timeline = Vec<(String, Event, Event)>;

impl Cuda {
    /// The moment when everything launched so far is done.
    pub fn event(&self) -> Result<Event> {
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let event = self.context.new_event(flags).map_err(refused("make an event"))?;
        event.record(&self.stream).map_err(refused("record an event"))?;
        Ok(Event(event))
    }

    /// From one moment to a later one, in seconds; waits for the later one.
    pub fn seconds_between(&self, start: &Event, end: &Event) -> Result<f64> {
        let elapsed = start.0.elapsed_ms(&end.0).map_err(|it| self.refused("read events", it))?;
        Ok(f64::from(elapsed) / 1e3)
    }

    /// Does some work, and says what each kernel in it took, the longest first. Graphs are launched kernel by
    /// kernel meanwhile.
    pub fn profile<R>(&self, work: impl FnOnce() -> R) -> Result<(R, Vec<KernelTime>)> {
        *self.timeline.lock().unwrap_or_else(PoisonError::into_inner) = Some(Timeline::new());
        let result = work();
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut kernels: BTreeMap<String, KernelTime> = BTreeMap::new();
        for (kernel, start, end) in timeline.unwrap_or_default() {
            let seconds = self.seconds_between(&start, &end)?;
            let sum = kernels.entry(kernel.clone());
            let sum = sum.or_insert(KernelTime { kernel, launches: 0, seconds: 0.0 });
            sum.launches += 1;
            sum.seconds += seconds;
        }
        let mut kernels: Vec<_> = kernels.into_values().collect();
        kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok((result, kernels))
    }

    /// Whether launches are timed one by one just now.
    pub(super) fn is_profiled(&self) -> bool {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Launches, and notes the time where that is wanted.
    pub(super) fn timed(
        &self,
        kernel: Kernel<'_>,
        launch: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.is_profiled() {
            return launch();
        }
        let start = self.event()?;
        launch()?;
        let end = self.event()?;
        let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timeline) = &mut *timeline {
            timeline.push((kernel.title(), start, end));
        }
        Ok(())
    }
}

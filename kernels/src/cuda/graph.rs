//! Launches that are done again and again: captured once, and then launched as one.
//!
//! The first time they are launched one by one, which compiles and loads what is missing; the second time
//! they are captured. So nothing is loaded or allocated while a graph is captured, which a device forbids.

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::{Cuda, refused};
use crate::{Error, Result};

/// Launches that are known, once they were done.
#[derive(Default)]
pub struct Graph {
    known: Known,
}

#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    /// They were done once.
    Loaded,
    /// As one launch.
    Captured(CudaGraph),
}

// SAFETY: the driver wants calls with a graph to come one after another, from whatever thread; all of them
// need `&mut Graph`, or drop it.
unsafe impl Send for Graph {}

impl Cuda {
    /// Does what `work` launches.
    ///
    /// # Safety
    ///
    /// As for [`crate::Decode::repeat`].
    pub(crate) unsafe fn repeat_launches(
        &self,
        graph: &mut Graph,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.settings.graphs || self.is_profiled() {
            return work();
        }
        match &graph.known {
            Known::Nothing => {
                work()?;
                graph.known = Known::Loaded;
                return Ok(());
            }
            Known::Loaded => graph.known = Known::Captured(self.capture(work)?),
            Known::Captured(_) => {}
        }
        let Known::Captured(it) = &graph.known else { return Ok(()) };
        it.launch().map_err(refused("launch a graph"))
    }

    /// What `work` launches, none of which happens yet.
    fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(refused("capture a graph"))?;
        let done = work();
        // After an error too: else the stream would go on to be captured.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        done?;
        let nothing = || Error::Driver { call: "capture a graph", code: "nothing in it".into() };
        graph.map_err(refused("capture a graph"))?.ok_or_else(nothing)
    }
}

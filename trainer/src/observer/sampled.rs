//! Owns adding what the driver says of the device to what a run says. Knows neither; the run is told first.

use anyhow::Result;

use super::Observer;
use crate::device_sampler::DeviceSampler;
use crate::event::Event;

/// Hands events on, and now and then one about the device behind them.
pub struct Sampled<O> {
    /// Who hears all of it.
    pub inner: O,
    /// Who asks the driver; none where the device has no memory of its own.
    pub sampler: Option<DeviceSampler>,
}

impl<O: Observer> Observer for Sampled<O> {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.inner.on(event)?;
        // Nothing comes behind the end of a run.
        let is_end = matches!(event, Event::Finished { .. } | Event::Failed { .. });
        match self.sampler.as_ref().filter(|_| !is_end).and_then(DeviceSampler::take) {
            Some(sample) => self.inner.on(&sample),
            None => Ok(()),
        }
    }
}

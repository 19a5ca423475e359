//! Owns reading values back from a device: a read waits for all work before it, tells what failed in it, and ends where the
//! device is lost. Knows no operation.
//!
//! The framework's own read waits for an answer that never comes where the driver gives a device up while it waits: the
//! thread that polls the device panics, and nobody is left who could answer. So this one looks up now and then.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use super::failure::{DeviceFailure, FailureKind};
use super::panics;
use crate::error::{Error, Result};

/// How often a wait looks whether the framework still works.
const LOOK: Duration = Duration::from_millis(100);
/// How long an answer may still take after a thread of the framework panicked.
const GRACE: Duration = Duration::from_secs(2);

/// The values of a tensor, in f32.
pub(crate) fn host<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<f32>> {
    read(tensor).map_err(Error::from)
}

/// The same where no error can be returned: a failure is unwound to the boundary of the engine.
pub(crate) fn host_or_unwind<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    read(tensor).unwrap_or_else(|failure| std::panic::resume_unwind(Box::new(failure)))
}

fn read<const D: usize>(tensor: &Tensor<D>) -> std::result::Result<Vec<f32>, DeviceFailure> {
    let data = wait(tensor.to_data_async())?.map_err(|error| DeviceFailure::told(&error.to_string()))?;
    Ok(data.iter::<f32>().collect())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the framework, as long as there is somebody to give it.
pub(super) fn wait<F: Future>(future: F) -> std::result::Result<F::Output, DeviceFailure> {
    let before = panics::of_framework();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut alone_since: Option<Instant> = None;
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return Ok(answer);
        }
        std::thread::park_timeout(LOOK);
        if panics::of_framework() > before && alone_since.get_or_insert_with(Instant::now).elapsed() > GRACE {
            let said = panics::last_said().unwrap_or_default();
            let failure = DeviceFailure::told(&said);
            let kind = if failure.kind == FailureKind::Other { FailureKind::Lost } else { failure.kind };
            return Err(DeviceFailure { kind, ..failure });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::device::TensorDevice;

    #[test]
    fn values_are_read_in_the_order_of_the_tensor() {
        let device = TensorDevice::cpu().device;
        let tensor = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device).transpose();
        assert_eq!(host(&tensor).unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(host_or_unwind(&tensor), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn an_answer_from_another_thread_wakes_the_wait() {
        struct Late(Option<std::thread::JoinHandle<()>>, Arc<std::sync::atomic::AtomicBool>);
        impl Future for Late {
            type Output = u32;
            fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
                if self.1.load(std::sync::atomic::Ordering::SeqCst) {
                    return Poll::Ready(5);
                }
                let (waker, done) = (context.waker().clone(), Arc::clone(&self.1));
                self.0.get_or_insert_with(|| {
                    std::thread::spawn(move || {
                        done.store(true, std::sync::atomic::Ordering::SeqCst);
                        waker.wake();
                    })
                });
                Poll::Pending
            }
        }
        assert_eq!(wait(Late(None, Arc::default())).unwrap(), 5);
    }

    #[test]
    fn a_wait_ends_where_nobody_is_left_who_could_answer() {
        let teller = std::thread::spawn(|| {
            std::thread::sleep(LOOK);
            panics::keep(Some("Error in Device::poll: Validation Error\n\nCaused by:\n  Parent device is lost".into()));
        });
        let failure = wait(std::future::pending::<()>()).unwrap_err();
        teller.join().unwrap();
        assert_eq!(failure.kind, FailureKind::Lost, "{failure}");
        assert_eq!(failure.reason, "Parent device is lost");
    }
}

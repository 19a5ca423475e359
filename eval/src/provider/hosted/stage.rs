//! Owns how far a request got before it failed, because money hangs on it: what never left this machine cannot be billed.
//! It is watched where bytes are handed over and not guessed from errors, which say the same of both sides of that line.
//! Knows nothing about what a request says or costs.

use std::cell::Cell;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its host, or that of the proxy, has no address that may be asked.
    Name,
    /// There is no connection: refused, unreachable, too slow, or one whose other side is not who it should be (TLS).
    Connection,
    /// Bytes of it were handed over, so that the model may have run, whatever came back.
    Sent,
}

thread_local! {
    /// A request is sent on the thread that asks for it, from looking its host up to the head of its answer.
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Name) };
}

impl Stage {
    /// Whether the provider may have seen the request.
    pub(super) fn is_sent(self) -> bool {
        self == Self::Sent
    }

    /// How far the last request of this thread got.
    pub(super) fn reached() -> Self {
        STAGE.get()
    }

    /// Notes how far the request of this thread is.
    pub(super) fn note(self) {
        STAGE.set(self);
    }
}

/// Makes connections as ureq does, and watches when requests are handed to them.
#[derive(Debug, Default)]
pub(super) struct WatchedConnector(DefaultConnector);

impl Connector for WatchedConnector {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Watched>, ureq::Error> {
        let connected = self.0.connect(details, chained);
        // A proxy is told where to connect to over a connection that is watched too; that is not the request yet.
        if Stage::reached().is_sent() {
            Stage::Connection.note();
        }
        Ok(connected?.map(Watched))
    }
}

/// A connection with everything that had to be agreed on before a request, TLS included.
#[derive(Debug)]
pub(super) struct Watched(Box<dyn Transport>);

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        Stage::Sent.note();
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

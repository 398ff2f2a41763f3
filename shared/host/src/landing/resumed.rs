//! The bytes of an object over a line that breaks: taken up where it broke, a few times.

use std::time::Duration;

use futures::stream::{StreamExt, TryStreamExt, try_unfold};
use inlet_core::clock::{self, Deadline};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::landing_store::ObjectBytes;

/// How often one object is taken up again.
const TIMES: u32 = 4;
/// The longest wait before.
const WAIT: Duration = Duration::from_secs(2);

struct Reading<O> {
    bytes: ObjectBytes,
    open: O,
    read: u64,
    size: u64,
    broken: u32,
}

/// Reads on after the first bytes: `open` gives those from an offset on. What ends before its `size` is broken too.
pub(super) fn resumed<O, F>(first: ObjectBytes, size: u64, open: O) -> ObjectBytes
where
    O: Fn(u64) -> F + Send + 'static,
    F: Future<Output = Result<ObjectBytes, Fault>> + Send,
{
    let reading = Reading { bytes: first, open, read: 0, size, broken: 0 };
    try_unfold(reading, |mut reading| async move {
        loop {
            let fault = match reading.bytes.try_next().await {
                Ok(Some(bytes)) => {
                    reading.read += bytes.len() as u64;
                    return Ok(Some((bytes, reading)));
                }
                Ok(None) if reading.read >= reading.size => return Ok(None),
                Ok(None) => Fault::again(format!("the object ended after {} of {} bytes", reading.read, reading.size)),
                Err(fault) => fault,
            };
            if fault.kind() != FaultKind::Again || reading.broken == TIMES || reading.read >= reading.size {
                return Err(fault);
            }
            clock::pause(clock::jitter(reading.broken + 4), Deadline::after(WAIT)).await;
            reading.broken += 1;
            reading.bytes = (reading.open)(reading.read).await?;
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use futures::stream;

    use super::*;

    const TEXT: &[u8] = b"0123456789";

    /// `upto` bytes from an offset on, then the line breaks.
    fn breaking(from: u64, upto: usize, kind: FaultKind) -> ObjectBytes {
        let rest = &TEXT[usize::try_from(from).unwrap()..];
        let whole = upto >= rest.len();
        let piece = Bytes::from_static(&rest[..upto.min(rest.len())]);
        let fault = if kind == FaultKind::Again { Fault::again("broken") } else { Fault::setup("refused") };
        let pieces = if whole { vec![Ok(piece)] } else { vec![Ok(piece), Err(fault)] };
        stream::iter(pieces).boxed()
    }

    fn read(upto: usize, kind: FaultKind) -> (Result<Vec<u8>, Fault>, u32) {
        let opened = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&opened);
        let bytes = resumed(breaking(0, upto, kind), TEXT.len() as u64, move |from| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(breaking(from, upto, kind)) }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = runtime.block_on(bytes.try_collect::<Vec<Bytes>>()).map(|pieces| pieces.concat());
        (read, opened.load(Ordering::Relaxed))
    }

    #[test]
    fn what_breaks_is_taken_up_where_it_broke() {
        for (upto, times) in [(10, 0), (3, 3)] {
            let (read, opened) = read(upto, FaultKind::Again);
            assert_eq!((read.unwrap(), opened), (TEXT.to_vec(), times));
        }
    }

    #[test]
    fn a_line_that_always_breaks_is_given_up() {
        let (read, opened) = read(1, FaultKind::Again);
        assert_eq!((read.unwrap_err().to_string().as_str(), opened), ("broken", TIMES));
    }

    #[test]
    fn what_somebody_has_to_mend_is_not_tried_again() {
        let (read, opened) = read(3, FaultKind::Setup);
        assert_eq!((read.unwrap_err().to_string().as_str(), opened), ("refused", 0));
    }

    #[test]
    fn an_object_that_ends_early_is_broken() {
        let short = || stream::iter([Ok(Bytes::from_static(b"01"))]).boxed();
        let bytes = resumed(short(), 10, move |_| async { Err(Fault::setup("opened again")) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = runtime.block_on(bytes.try_collect::<Vec<Bytes>>());
        assert_eq!(read.unwrap_err().to_string(), "opened again");
    }
}

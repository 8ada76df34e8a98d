//! An event as a line of JSON. The formatter of `tracing-subscriber` hands over every quote and comma by itself, through
//! layers that look at each of them: for the line of a request that was 6 % of what the request costs. Here a line is
//! written whole.

use std::cell::RefCell;
use std::fmt;

use serde::ser::{SerializeMap as _, Serializer as _};
use tracing::{Event, Subscriber};
use tracing_serde::SerdeMapVisitor;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Most lines are shorter, in bytes.
const USUAL_LENGTH: usize = 1024;

thread_local! {
    static LINE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(USUAL_LENGTH));
}

/// Formats events as JSON objects: `timestamp`, `level`, the event's own fields, `target`.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        LINE.with(|line| {
            // What an event's fields do when they are written can't log again: they are values.
            let Ok(mut line) = line.try_borrow_mut() else {
                return Err(fmt::Error);
            };
            line.clear();
            write_line(&mut line, event)?;
            let text = std::str::from_utf8(&line).map_err(|_| fmt::Error)?;
            writer.write_str(text)
        })
    }
}

fn write_line(line: &mut Vec<u8>, event: &Event<'_>) -> fmt::Result {
    let mut now = String::with_capacity(32);
    SystemTime.format_time(&mut Writer::new(&mut now))?;
    write_object(line, &now, event).map_err(|_| fmt::Error)?;
    line.push(b'\n');
    Ok(())
}

fn write_object(line: &mut Vec<u8>, now: &str, event: &Event<'_>) -> Result<(), serde_json::Error> {
    let mut serializer = serde_json::Serializer::new(line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", now)?;
    object.serialize_entry("level", event.metadata().level().as_str())?;
    let mut fields = SerdeMapVisitor::new(object);
    event.record(&mut fields);
    let mut object = fields.take_serializer()?;
    object.serialize_entry("target", event.metadata().target())?;
    object.end()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes.
    fn written(log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let logs = fmt()
            .event_format(JsonLine)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(logs, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_a_line_of_json() {
        let lines = written(|| {
            let _span = tracing::info_span!("around", of = 1).entered();
            tracing::warn!(
                target: "a::target",
                text = "a \"quote\"\nand a line",
                count = 7_u64,
                shown = %"1.50",
                debugged = ?Some("x"),
                missing = None::<&str>,
                "what {}", "happened"
            );
            tracing::info!("another");
        });
        let mut lines = lines.lines();
        let first = lines.next().unwrap();
        let (timestamp, rest) = first.split_once(r#"Z","#).unwrap();
        let (_, time) = timestamp.split_once(r#"{"timestamp":""#).unwrap();
        assert_eq!(time.len(), "2026-11-21T10:07:27.889398".len());
        assert_eq!(
            rest,
            r#""level":"WARN","message":"what happened","text":"a \"quote\"\nand a line","count":7,"shown":"1.50","debugged":"Some(\"x\")","target":"a::target"}"#
        );
        let second: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(second["message"], "another");
        assert_eq!(lines.next(), None);
    }
}

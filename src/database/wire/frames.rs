//! Reading and writing frames.
//!
//! Takes bytes, gives messages. Never buffers a frame beyond the cap, and never interprets a message.

use bytes::Buf;
use postgres_protocol::message::backend::{ErrorFields, Header, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{MAX_FRAME_BYTES, ServerError, Wire, WireError};

impl Wire {
    /// Sends everything that was put together.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        self.stream.write_all_buf(&mut self.outgoing).await.map_err(WireError::Io)?;
        self.stream.flush().await.map_err(WireError::Io)
    }

    /// The next message that concerns us: notices, parameter changes and notifications are passed over.
    pub(super) async fn receive(&mut self) -> Result<Message, WireError> {
        loop {
            if self.has_frame()? {
                match Message::parse(&mut self.incoming).map_err(WireError::Io)? {
                    Some(Message::NoticeResponse(_) | Message::ParameterStatus(_) | Message::NotificationResponse(_)) => {
                        continue;
                    }
                    Some(message) => return Ok(message),
                    None => {}
                }
            }
            let read = self.stream.read_buf(&mut self.incoming).await.map_err(WireError::Io)?;
            if read == 0 {
                return Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Whether a whole frame is there; refuses one that is too large before it is buffered.
    fn has_frame(&mut self) -> Result<bool, WireError> {
        let Some(header) = Header::parse(&self.incoming).map_err(WireError::Io)? else { return Ok(false) };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(WireError::FrameTooLarge(length));
        }
        let whole = length.saturating_add(1);
        if self.incoming.remaining() < whole {
            self.incoming.reserve(whole.saturating_sub(self.incoming.remaining()));
            return Ok(false);
        }
        Ok(true)
    }
}

/// Reads an ErrorResponse; bytes that are not UTF-8 become replacement characters.
pub(super) fn server_error(fields: ErrorFields<'_>) -> ServerError {
    use fallible_iterator::FallibleIterator;
    let mut error = ServerError::default();
    let mut fields = fields;
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'P' => error.position = text.parse().ok(),
            _ => {}
        }
    }
    error
}

//! The stdio window: one JSON-RPC message per line.
//!
//! Takes lines from stdin, gives lines to stdout: the only writer of stdout while serving. Each message with an id gets an entry before it is
//! parsed any further; a line that is no message gets one too. Never ends while an answer is owed: at end of stdin, and at a stop, it drains
//! first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, GetExtensions, JsonRpcMessage, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Ticket;
use super::mcp::Mcp;
use crate::audit::Audit;
use crate::model::refusal::{Code, Refusal};

/// How long answers that are owed may take after stdin ended.
const DRAIN: Duration = Duration::from_secs(30);

/// Messages in and out, each with its entry.
pub struct StdioTransport<R, W> {
    reader: BufReader<R>,
    line: Vec<u8>,
    oversized: bool,
    max_line: usize,
    stop: CancellationToken,
    writer: Arc<tokio::sync::Mutex<W>>,
    audit: Audit,
    owed: Arc<Owed>,
    /// An answer to a line that was no message, on its way out.
    reply: Option<TxJsonRpcMessage<RoleServer>>,
}

/// Requests whose answers are owed.
#[derive(Debug, Default)]
struct Owed {
    tickets: Mutex<HashMap<RequestId, Ticket>>,
    fewer: Notify,
}

impl Owed {
    fn insert(&self, id: RequestId, ticket: Ticket) {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).insert(id, ticket);
    }

    fn take(&self, id: &RequestId) -> Option<Ticket> {
        let ticket = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.fewer.notify_waiters();
        ticket
    }

    async fn drained(&self) {
        loop {
            let fewer = self.fewer.notified();
            if self.tickets.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            fewer.await;
        }
    }
}

/// Where messages come from and go to, and until when.
#[derive(Debug)]
pub struct Pipes<R, W> {
    /// Lines in.
    pub reader: R,
    /// Lines out.
    pub writer: W,
    /// Most bytes of a line.
    pub max_line: usize,
    /// Nothing is read any more once this is set.
    pub stop: CancellationToken,
}

/// Serves until stdin ends or the stop is set, and every answer is out.
pub async fn serve<R, W>(mcp: Mcp, pipes: Pipes<R, W>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let Pipes { reader, writer, max_line, stop } = pipes;
    let transport = StdioTransport {
        reader: BufReader::new(reader),
        line: Vec::new(),
        oversized: false,
        max_line,
        stop,
        writer: Arc::new(tokio::sync::Mutex::new(writer)),
        audit: mcp.enforcement().audit.clone(),
        owed: Arc::default(),
        reply: None,
    };
    let running = match rmcp::serve_server(mcp, transport).await {
        Ok(running) => running,
        // A client that looks in and leaves before its first message is no failure.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    running.waiting().await?;
    Ok(())
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

impl<R, W> StdioTransport<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// The next line. What was read so far survives when the caller stops waiting.
    async fn next_line(&mut self) -> Line {
        loop {
            let (used, ended) = {
                let available = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Line::End,
                    available = self.reader.fill_buf() => available,
                };
                let available = match available {
                    Ok([]) | Err(_) => return Line::End,
                    Ok(available) => available,
                };
                let end = available.iter().position(|byte| *byte == b'\n');
                let used = end.map_or(available.len(), |end| end.saturating_add(1));
                if self.oversized || self.line.len().saturating_add(used) > self.max_line {
                    self.oversized = true;
                    self.line.clear();
                } else {
                    self.line.extend_from_slice(available.get(..used).unwrap_or_default());
                }
                (used, end.is_some())
            };
            self.reader.consume(used);
            if ended {
                let line = std::mem::take(&mut self.line);
                return if std::mem::take(&mut self.oversized) { Line::TooLong } else { Line::Whole(line) };
            }
        }
    }

    /// Refuses a line that is no message, with an entry.
    async fn refuse(&mut self, message: &str) {
        let refusal = Refusal::new(Code::ProtocolInvalid, message);
        let draft = self.audit.draft("stdio");
        let answer = match self.audit.close_protocol(draft, None, Some(&refusal)).await {
            Ok(_) => ErrorData::new(ErrorCode::PARSE_ERROR, refusal.message, None),
            Err(_) => ErrorData::internal_error("internal error", None),
        };
        self.reply = Some(JsonRpcMessage::Error(rmcp::model::JsonRpcError {
            jsonrpc: rmcp::model::JsonRpcVersion2_0,
            id: None,
            error: answer,
        }));
    }

    async fn flush_reply(&mut self) {
        if let Some(reply) = self.reply.take() {
            let _ = write(Arc::clone(&self.writer), &reply).await;
        }
    }

    fn knock(&self, mut message: RxJsonRpcMessage<RoleServer>) -> RxJsonRpcMessage<RoleServer> {
        if let JsonRpcMessage::Request(request) = &mut message {
            let mut draft = self.audit.draft("stdio");
            let method = serde_json::to_value(&request.request).ok();
            let method = method.and_then(|value| value.get("method")?.as_str().map(str::to_owned));
            draft.update(|entry| entry.method = method);
            let ticket = Ticket::new(draft, None);
            request.request.extensions_mut().insert(ticket.clone());
            self.owed.insert(request.id.clone(), ticket);
        }
        message
    }
}

impl<R, W> Transport<RoleServer> for StdioTransport<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = std::io::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (writer, audit, owed) = (Arc::clone(&self.writer), self.audit.clone(), Arc::clone(&self.owed));
        async move {
            let id = match &message {
                JsonRpcMessage::Response(response) => Some(response.id.clone()),
                JsonRpcMessage::Error(error) => error.id.clone(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            let Some(id) = id else { return write(writer, &message).await };
            // The entry first, then the answer; the debt last, so that draining waits for the bytes.
            let open = owed.tickets.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Ticket::take);
            let written = match open {
                Some(draft) => audit.close_protocol(draft, None, None).await.map(|_| ()),
                None => Ok(()),
            };
            let message = match written {
                Ok(()) => message,
                Err(_) => JsonRpcMessage::error(ErrorData::internal_error("internal error", None), Some(id.clone())),
            };
            let result = write(writer, &message).await;
            owed.take(&id);
            result
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            self.flush_reply().await;
            match self.next_line().await {
                Line::End => {
                    // Answers go out through `send` while this waits.
                    let _ = tokio::time::timeout(DRAIN, self.owed.drained()).await;
                    return None;
                }
                Line::TooLong => self.refuse("the message is too long").await,
                Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Line::Whole(line) => match serde_json::from_slice::<RxJsonRpcMessage<RoleServer>>(&line) {
                    Ok(message) => return Some(self.knock(message)),
                    Err(_) => self.refuse("the line is not a JSON-RPC message").await,
                },
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.writer.lock().await.flush().await
    }
}

async fn write<W: AsyncWrite + Unpin>(
    writer: Arc<tokio::sync::Mutex<W>>,
    message: &TxJsonRpcMessage<RoleServer>,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut writer = writer.lock().await;
    writer.write_all(&line).await?;
    writer.flush().await
}

//! A small MCP client: what `pgteller demo` drives its own server with.
//!
//! Takes a stream to a server, gives tool results as JSON. A real client over the real protocol; knows nothing of the server's insides.

use rmcp::model::{CallToolRequestParams, ReadResourceRequestParams, ResourceContents};
use rmcp::service::{RoleClient, RunningService, ServiceExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected client.
#[derive(Debug)]
pub struct Client(RunningService<RoleClient, ()>);

/// Why the server gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The handshake failed.
    #[error("shaking hands with the server")]
    Handshake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request failed.
    #[error("asking the server")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer holds nothing of what was asked for.
    #[error("the server's answer is empty")]
    Empty,
}

impl Client {
    /// Shakes hands over a stream.
    pub async fn connect<R, W>(reader: R, writer: W) -> Result<Self, ClientError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        ().serve((reader, writer)).await.map(Self).map_err(|error| ClientError::Handshake(error.into()))
    }

    /// The names of the server's tools.
    pub async fn tools(&self) -> Result<Vec<String>, ClientError> {
        let tools = self.0.list_all_tools().await.map_err(|error| ClientError::Request(error.into()))?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    /// Calls a tool; gives the structured content, refusals included.
    pub async fn call(&self, tool: &'static str, arguments: Value) -> Result<Value, ClientError> {
        let mut request = CallToolRequestParams::new(tool);
        if let Value::Object(arguments) = arguments {
            request = request.with_arguments(arguments);
        }
        let result = self.0.call_tool(request).await.map_err(|error| ClientError::Request(error.into()))?;
        result.structured_content.ok_or(ClientError::Empty)
    }

    /// Reads a resource as text.
    pub async fn read(&self, uri: &str) -> Result<String, ClientError> {
        let result =
            self.0.read_resource(ReadResourceRequestParams::new(uri)).await.map_err(|error| ClientError::Request(error.into()))?;
        match result.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => Ok(text),
            Some(_) | None => Err(ClientError::Empty),
        }
    }

    /// Ends the connection.
    pub async fn close(self) -> Result<(), ClientError> {
        self.0.cancel().await.map(|_| ()).map_err(|error| ClientError::Request(error.into()))
    }
}

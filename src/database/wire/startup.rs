//! Opening a session: startup packet and SCRAM.
//!
//! Takes a target, a role and a password, gives an idle session with pinned output settings.
//! Never answers a request for a cleartext or MD5 password, and never takes "no password needed" for an answer (`redteam.md` 17).

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::frames::server_error;
use super::{Health, Wire, WireError};
use crate::database::target::{CONNECT_TIMEOUT, Target};
use crate::secret::{ExposeSecret, Secret};

/// Settings pinned at start-up: what values look like, and what would make row order or plans a channel (`redteam.md` 2, 21).
const PINNED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("application_name", "pgteller"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("lc_monetary", "C"),
    ("xmlbinary", "base64"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "on"),
    ("synchronize_seqscans", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("enable_indexonlyscan", "off"),
    ("jit", "off"),
    ("row_security", "on"),
    // Of what stands outside our transactions; each of those sets its own.
    ("statement_timeout", "15s"),
];

impl Wire {
    /// Opens a session as `role`.
    pub async fn connect(target: &Target, role: &str, password: &Secret, timezone: Option<&str>) -> Result<Self, WireError> {
        let mut wire = Self {
            stream: target.open().await?,
            incoming: BytesMut::with_capacity(16 * 1024),
            outgoing: BytesMut::with_capacity(4 * 1024),
            target: target.clone(),
            process_id: 0,
            secret_key: 0,
            health: Health::Spent,
        };
        tokio::time::timeout(CONNECT_TIMEOUT, wire.start(role, password, timezone))
            .await
            .map_err(|_| WireError::Connect(std::io::ErrorKind::TimedOut.into()))??;
        wire.health = Health::Clean;
        Ok(wire)
    }

    async fn start(&mut self, role: &str, password: &Secret, timezone: Option<&str>) -> Result<(), WireError> {
        let database = self.target.database.clone();
        let mut parameters = vec![("user", role), ("database", database.as_str())];
        parameters.extend_from_slice(PINNED);
        if let Some(timezone) = timezone {
            parameters.push(("TimeZone", timezone));
        }
        frontend::startup_message(parameters, &mut self.outgoing).map_err(WireError::Io)?;
        self.flush().await?;
        self.authenticate(password).await?;
        loop {
            match self.receive().await? {
                Message::BackendKeyData(body) => {
                    self.process_id = body.process_id();
                    self.secret_key = body.secret_key();
                }
                Message::ReadyForQuery(body) if body.status() == b'I' => return Ok(()),
                Message::ErrorResponse(body) => return Err(WireError::Server(Box::new(server_error(body.fields())))),
                _ => return Err(WireError::Protocol("an unexpected message at start-up")),
            }
        }
    }

    async fn authenticate(&mut self, password: &Secret) -> Result<(), WireError> {
        match self.receive().await? {
            Message::AuthenticationSasl(body) => {
                let mut mechanisms = body.mechanisms();
                let mut offered = false;
                while let Some(mechanism) = mechanisms.next().map_err(WireError::Io)? {
                    offered |= mechanism == SCRAM_SHA_256;
                }
                if !offered {
                    return Err(WireError::NotScram("another SASL mechanism"));
                }
            }
            Message::AuthenticationOk => return Err(WireError::NotScram("no password at all (`trust`)")),
            Message::AuthenticationCleartextPassword => return Err(WireError::NotScram("a password in clear text")),
            Message::AuthenticationMd5Password(_) => return Err(WireError::NotScram("an MD5 password")),
            Message::ErrorResponse(body) => return Err(WireError::Server(Box::new(server_error(body.fields())))),
            _ => return Err(WireError::NotScram("something else")),
        }
        let mut scram = ScramSha256::new(password.expose_secret().as_bytes(), ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.outgoing).map_err(WireError::Io)?;
        self.flush().await?;
        let answer = match self.receive().await? {
            Message::AuthenticationSaslContinue(body) => body,
            Message::ErrorResponse(body) => return Err(WireError::Server(Box::new(server_error(body.fields())))),
            _ => return Err(WireError::Protocol("no SCRAM challenge")),
        };
        scram.update(answer.data()).map_err(WireError::Io)?;
        frontend::sasl_response(scram.message(), &mut self.outgoing).map_err(WireError::Io)?;
        self.flush().await?;
        match self.receive().await? {
            // The server proves here that it knows the verifier: we are not talking to an impostor.
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(WireError::Io)?,
            Message::ErrorResponse(body) => return Err(WireError::Server(Box::new(server_error(body.fields())))),
            _ => return Err(WireError::Protocol("no SCRAM signature")),
        }
        match self.receive().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(WireError::Protocol("SCRAM did not end in success")),
        }
    }
}

//! Our own signing keys in the store.

use sqlx::Row;

use super::{Store, StoreError};
use crate::clock::Instant;
use crate::secret::{ExposeSecret, Secret};

/// A signing key as it is kept: PKCS #8 and the raw public key, both in base64url.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its `kid`.
    pub id: String,
    /// When it was made.
    pub created_at: Instant,
    /// The key.
    pub private: Secret,
    /// Its public part.
    pub public: String,
}

impl Store {
    /// Every key, the newest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = sqlx::query("SELECT id, created_at, private_key, public_key FROM signing_key ORDER BY created_at DESC, id")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("reading our signing keys"))?;
        rows.iter()
            .map(|row| {
                Ok(StoredKey {
                    id: row.try_get("id")?,
                    created_at: Instant(row.try_get("created_at")?),
                    private: Secret::from(row.try_get::<String, _>("private_key")?),
                    public: row.try_get("public_key")?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(StoreError::query("reading our signing keys"))
    }

    /// Keeps a key.
    pub async fn keep_signing_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO signing_key (id, created_at, private_key, public_key) VALUES ($1, $2, $3, $4)")
            .bind(&key.id)
            .bind(key.created_at.0)
            .bind(key.private.expose_secret())
            .bind(&key.public)
            .execute(&self.pool)
            .await
            .map_err(StoreError::query("keeping a signing key"))?;
        Ok(())
    }

    /// Forgets keys made before.
    pub async fn forget_signing_keys(&self, before: Instant) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM signing_key WHERE created_at < $1")
            .bind(before.0)
            .execute(&self.pool)
            .await
            .map_err(StoreError::query("forgetting old signing keys"))?;
        Ok(())
    }
}

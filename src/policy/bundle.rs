//! Policy bundles.
//!
//! Takes a file, gives the WASM module in it. The default policy's module is embedded, so that a fresh clone runs without `opa`;
//! CI rebuilds it from `policies/pgteller` and compares. Never executes anything.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::PolicyError;
use crate::model::names::BundleDigest;

/// The default policy's module: `opa build -t wasm` of `policies/pgteller`, without `-O`.
pub const EMBEDDED: &[u8] = include_bytes!("../../policies/policy.wasm");

/// Largest module that is read.
const MAX_MODULE_BYTES: u64 = 32 * 1024 * 1024;

/// Reads a bundle (`.tar.gz` of `opa build`) or a bare `.wasm` module.
pub fn read(path: &Path) -> Result<Vec<u8>, PolicyError> {
    let unreadable = |why: String| PolicyError::Bundle(format!("`{}`: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "wasm") {
        return bounded(file).map_err(unreadable);
    }
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = archive.entries().map_err(|error| unreadable(error.to_string()))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(error.to_string()))?;
        let name = entry.path().map_err(|error| unreadable(error.to_string()))?.to_path_buf();
        if name.file_name().is_some_and(|name| name == "policy.wasm") {
            return bounded(entry).map_err(unreadable);
        }
    }
    Err(unreadable("holds no policy.wasm: build it with `opa build -t wasm`".to_owned()))
}

fn bounded(from: impl Read) -> Result<Vec<u8>, String> {
    let mut module = Vec::new();
    from.take(MAX_MODULE_BYTES.saturating_add(1)).read_to_end(&mut module).map_err(|error| error.to_string())?;
    if u64::try_from(module.len()).unwrap_or(u64::MAX) > MAX_MODULE_BYTES {
        return Err(format!("is larger than {MAX_MODULE_BYTES} bytes"));
    }
    Ok(module)
}

/// What decisions, entries and permits name: SHA-256 over module and data.
pub fn digest(module: &[u8], data: &serde_json::Value) -> BundleDigest {
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(module));
    hash.update(data.to_string().as_bytes());
    BundleDigest(crate::clock::hex(&hash.finalize()))
}

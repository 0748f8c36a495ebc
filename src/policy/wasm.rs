//! The WASM engine: pooled, bounded instances.
//!
//! Takes a module and its data, gives answers. An instance has a time limit (epochs), a memory limit and an input limit; one that trapped is
//! dropped, never reused. Never lets the module reach anything: it has no imports but OPA's own. (`reference/crates.md` §2, §12.3.)

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opa_wasm::{DefaultContext, Policy as Loaded, Runtime};
use serde_json::Value;
use serde_json::value::RawValue;
use wasmtime::{Cache, CacheConfig, Config, Engine, Module, Store, StoreLimits, StoreLimitsBuilder};

use super::PolicyError;

/// Memory of one instance.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// Largest input of a question.
const MAX_INPUT_BYTES: usize = 16 * 1024 * 1024;
/// The length of one epoch.
const TICK: Duration = Duration::from_millis(10);
/// Epochs that one evaluation may last: generous, because a debug build on a busy machine must not deny by chance.
const TICKS: u64 = 500;
/// Idle instances that are kept.
const POOL: usize = 16;

/// A compiled module with its data, and idle instances of it.
pub struct Pool {
    engine: Engine,
    module: Module,
    data: Value,
    idle: Mutex<Vec<Instance>>,
    ticker: Ticker,
}

struct Instance {
    store: Store<StoreLimits>,
    policy: Loaded<DefaultContext>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Compiles a module; `cache` is where compiled code is kept between starts.
    pub fn load(module: &[u8], data: &Value, cache: Option<&Path>) -> Result<Self, PolicyError> {
        let unusable = |error: wasmtime::Error| PolicyError::Bundle(error.to_string());
        let mut config = Config::new();
        config.epoch_interruption(true);
        if let Some(directory) = cache {
            let mut settings = CacheConfig::new();
            settings.with_directory(directory);
            match Cache::new(settings) {
                Ok(cache) => {
                    config.cache(Some(cache));
                }
                // Only slower: the module is compiled again.
                Err(error) => tracing::debug!(%error, "compiled policies cannot be cached"),
            }
        }
        let engine = Engine::new(&config).map_err(unusable)?;
        let module = Module::new(&engine, module).map_err(unusable)?;
        let ticker = Ticker::start(engine.clone());
        Ok(Self { engine, module, data: data.clone(), idle: Mutex::new(Vec::new()), ticker })
    }

    /// Asks one question.
    pub async fn evaluate(&self, entrypoint: &'static str, input: &RawValue) -> Result<Value, PolicyError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| PolicyError::Evaluation { entrypoint, source };
        if input.get().len() > MAX_INPUT_BYTES {
            return Err(failed(format!("the input is larger than {MAX_INPUT_BYTES} bytes").into()));
        }
        let _running = self.ticker.run();
        // `access` reads a whole schema and grows its memory; its instance is not kept for the many small questions.
        let keep = entrypoint != super::ACCESS;
        let idle = if keep { lock(&self.idle).pop() } else { None };
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.instantiate().await.map_err(|error| failed(error.into()))?,
        };
        instance.store.set_epoch_deadline(TICKS);
        // An error leaves the instance in an unknown state: `?` drops it here.
        let answer: Value =
            instance.policy.evaluate(&mut instance.store, entrypoint, &input).await.map_err(|error| failed(error.into()))?;
        if keep {
            let mut idle = lock(&self.idle);
            if idle.len() < POOL {
                idle.push(instance);
            }
        }
        match answer {
            Value::Array(mut results) if results.len() == 1 => match results.pop() {
                Some(Value::Object(mut result)) => result.remove("result").ok_or(PolicyError::Undefined { entrypoint }),
                _ => Err(PolicyError::Undefined { entrypoint }),
            },
            _ => Err(PolicyError::Undefined { entrypoint }),
        }
    }

    async fn instantiate(&self) -> anyhow::Result<Instance> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).instances(1).tables(4).memories(1).build();
        let mut store = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_epoch_deadline(TICKS);
        let runtime = Runtime::new(&mut store, &self.module).await?;
        let policy = runtime.with_data(&mut store, &self.data).await?;
        Ok(Instance { store, policy })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Advances the engine's epoch while somebody evaluates, and sleeps while nobody does.
struct Ticker(Arc<Shared>);

struct Shared {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

struct Running(Arc<Shared>);

impl Ticker {
    fn start(engine: Engine) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new((0, false)), changed: Condvar::new() });
        let thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            loop {
                let state = lock(&thread.state);
                let Ok(state) = thread.changed.wait_while(state, |(running, ended)| *running == 0 && !*ended) else { return };
                if state.1 {
                    return;
                }
                drop(state);
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        });
        Self(shared)
    }

    fn run(&self) -> Running {
        let mut state = lock(&self.0.state);
        state.0 = state.0.saturating_add(1);
        self.0.changed.notify_one();
        Running(Arc::clone(&self.0))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        lock(&self.0.state).1 = true;
        self.0.changed.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.0 = state.0.saturating_sub(1);
    }
}

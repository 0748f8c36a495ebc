//! `pgteller demo`: stub
#[derive(Debug, clap::Args)]
pub struct Demo {}
impl Demo {
    pub async fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}

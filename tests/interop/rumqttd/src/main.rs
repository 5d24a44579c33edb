//! rumqttd as a program: `rumqttd-broker CONFIGURATION.toml`.
use config::{Config, File};
use rumqttd::Broker;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: rumqttd-broker CONFIGURATION.toml")?;
    tracing_subscriber::fmt()
        .with_env_filter("rumqttd=info")
        .with_ansi(false)
        .init();
    let settings = Config::builder()
        .add_source(File::with_name(&path))
        .build()?
        .try_deserialize()?;
    Broker::new(settings).start()?;
    Ok(())
}

//! Addons with configurations of different types in one list.

use async_trait::async_trait;
use serde_json::Value;

use crate::{About, Addon, Configuration, Context, Drain, Error, Site};

/// An [`Addon`] whose configuration is JSON. Implemented for every addon.
#[async_trait]
pub trait Native: Send + Sync + 'static {
    /// See [`Addon::about`].
    fn about(&self) -> About;

    /// JSON schema of the configuration, with its defaults.
    fn schema(&self) -> Value;

    /// The configuration with its defaults filled in.
    ///
    /// # Errors
    /// [`Error::Config`] if a field is unknown, of another type, or refused by [`Addon::check`].
    fn configuration(&self, config: &Value) -> Result<Value, Error>;

    /// See [`Addon::objects`].
    ///
    /// # Errors
    /// As [`Native::configuration`].
    fn objects(&self, config: &Value, site: &Site) -> Result<Vec<Value>, Error>;

    /// See [`Addon::page`]; `None` also for a configuration that is not usable.
    fn page(&self, config: &Value, site: &Site) -> Option<String>;

    /// See [`Addon::waits_for_outside`].
    fn waits_for_outside(&self) -> bool;

    /// See [`Addon::run`].
    ///
    /// # Errors
    /// As [`Addon::run`] and [`Native::configuration`].
    async fn run(&self, config: &Value, context: Context, drain: Drain) -> Result<(), Error>;

    /// See [`Addon::disabled`].
    ///
    /// # Errors
    /// As [`Addon::disabled`] and [`Native::configuration`].
    async fn disabled(&self, config: &Value, context: Context) -> Result<(), Error>;
}

#[async_trait]
impl<A: Addon> Native for A {
    fn about(&self) -> About {
        Addon::about(self)
    }

    fn schema(&self) -> Value {
        schema_of::<A::Config>()
    }

    fn configuration(&self, config: &Value) -> Result<Value, Error> {
        let typed = read::<A>(self, config)?;
        serde_json::to_value(typed).map_err(|error| Error::Other(error.to_string()))
    }

    fn objects(&self, config: &Value, site: &Site) -> Result<Vec<Value>, Error> {
        Addon::objects(self, &read::<A>(self, config)?, site)
    }

    fn page(&self, config: &Value, site: &Site) -> Option<String> {
        Addon::page(self, &read::<A>(self, config).ok()?, site)
    }

    fn waits_for_outside(&self) -> bool {
        Addon::waits_for_outside(self)
    }

    async fn run(&self, config: &Value, context: Context, drain: Drain) -> Result<(), Error> {
        Addon::run(self, read::<A>(self, config)?, context, drain).await
    }

    async fn disabled(&self, config: &Value, context: Context) -> Result<(), Error> {
        Addon::disabled(self, read::<A>(self, config)?, context).await
    }
}

/// The JSON schema of a configuration.
pub fn schema_of<C: Configuration>() -> Value {
    schemars::schema_for!(C).to_value()
}

fn read<A: Addon>(addon: &A, config: &Value) -> Result<A::Config, Error> {
    if config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(A::Config::default());
    }
    let typed: A::Config = serde_path_to_error::deserialize(config).map_err(|error| Error::Config {
        field: error.path().to_string(),
        problem: error.inner().to_string(),
    })?;
    addon.check(&typed)?;
    Ok(typed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::Text;

    struct Echo;

    #[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        /// Where to listen.
        port: u16,
    }

    #[async_trait]
    impl Addon for Echo {
        type Config = Settings;

        fn about(&self) -> About {
            let summary = Text { en: "Answers", zh: "应答" };
            About { name: "echo", summary, maintainer: "us", version: "1", default_on: false, needs: &[] }
        }

        fn check(&self, config: &Settings) -> Result<(), Error> {
            let problem = || Error::Config { field: "port".into(), problem: "is the system's".into() };
            (config.port != 22).then_some(()).ok_or_else(problem)
        }

        async fn run(&self, _: Settings, _: Context, drain: Drain) -> Result<(), Error> {
            drain.wait().await;
            Ok(())
        }
    }

    #[test]
    fn configurations_are_filled_in_and_refused_by_field() {
        let echo: &dyn Native = &Echo;
        assert_eq!(echo.configuration(&Value::Null).unwrap(), json!({"port": 0}));
        assert_eq!(echo.configuration(&json!({"port": 80})).unwrap(), json!({"port": 80}));
        for (config, words) in [
            (json!({"port": "x"}), "port: invalid type"),
            (json!({"prot": 1}), "unknown field `prot`"),
            (json!({"port": 22}), "port: is the system's"),
        ] {
            let error = echo.configuration(&config).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(echo.schema()["properties"]["port"]["description"], "Where to listen.");
    }
}

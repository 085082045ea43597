//! Routes: which server serves a model, in which format, with which key.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ak_json::{Text, Value, object};
use ak_kernel::{Failure, Price};
use ak_policy::{Action, CanonicalUrl, Policy, PolicyDecision, Query, Target};
use zeroize::Zeroizing;

use crate::{
    config::{
        source::Url,
        tables::{ApiFormat, LimitName, ModelTable, Patterns},
    },
    effects::infer::circuit::Circuit,
    net::ProxyMode,
    net::pool::ConnectionPool,
    secrets::store::Secrets,
    secrets::value::SecretValue,
};

/// Default maximum time for a whole answer of a model, in milliseconds.
pub const INFER_TIMEOUT_MS: u64 = 600_000;
/// Returns the path of a format's endpoint relative to the base URL.
const fn path_of(format: ApiFormat) -> &'static str {
    match format {
        ApiFormat::Chat => "/chat/completions",
        ApiFormat::Responses => "/responses",
        ApiFormat::Anthropic => "/messages",
    }
}

/// Returns the name of the token limit at a known host. OpenAI's newer models reject the older name; all its models
/// accept the newer one.
fn limit_name_of(host: &str) -> Option<LimitName> {
    (host == "api.openai.com").then_some(LimitName::MaxCompletionTokens)
}

/// A server with the models that it serves.
#[derive(Debug)]
pub(crate) struct Route {
    label: String,
    /// A policy that permits exactly the models of this route.
    models: Policy,
    pub(crate) url: CanonicalUrl,
    pub(crate) format: ApiFormat,
    pub(crate) key: Option<SecretValue>,
    /// The server's name for the model; `None` when it is the name that agents use.
    pub(crate) name: Option<Text>,
    /// The member in which the server accepts the token limit; `None` to keep the member that the agent chose.
    pub(crate) limit_name: Option<&'static str>,
    pub(crate) proxy_mode: ProxyMode,
    pub(crate) timeout_ms: u64,
    pub(crate) price: Option<Price>,
    pub(crate) circuit: Circuit,
    /// Whether the server is known to reject `stream_options`.
    refuses_stream_options: AtomicBool,
    /// Idle connections to the server.
    pub(crate) pool: ConnectionPool,
}

impl Route {
    /// Whether to send `stream_options`, which request usage in a stream: true unless the server is known to reject
    /// them.
    pub(crate) fn takes_stream_options(&self) -> bool {
        !self.refuses_stream_options.load(Ordering::Relaxed)
    }

    /// Records that the server rejects `stream_options`.
    pub(crate) fn refuse_stream_options(&self) {
        self.refuses_stream_options.store(true, Ordering::Relaxed);
    }

    /// Whether the server rejected a stream because of `stream_options`, which the host had added.
    pub(crate) fn is_about_stream_options(&self, refusal: &Failure) -> bool {
        let status = refusal.context.get("status").and_then(Value::as_u64);
        let is_about_it =
            ["stream_options", "include_usage"].iter().any(|name| refusal.message.contains(name));
        self.format == ApiFormat::Chat && is_about_it && matches!(status, Some(400 | 404 | 415 | 422 | 501))
    }

    fn new(
        label: String,
        patterns: &[String],
        base: &CanonicalUrl,
        format: ApiFormat,
    ) -> Result<Route, String> {
        let models: Vec<Value> = patterns.iter().map(|pattern| Text::from(pattern.as_str()).into()).collect();
        let profiles = Vec::<Value>::new();
        let policy = object! { "profiles": profiles, "infer": object! { "models": models } };
        let models =
            Policy::parse(&policy.to_json(), None).map_err(|error| format!("match: {}", error.message))?;
        let url_of = base;
        let (base, query) = match base.as_str().split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (base.as_str(), String::new()),
        };
        let base = base.trim_end_matches('/');
        let path = match format {
            _ if base.ends_with(path_of(format)) => "",
            // Anthropic's documented base URL does not contain the version.
            ApiFormat::Anthropic if base.ends_with(url_of.origin()) => "/v1/messages",
            _ => path_of(format),
        };
        let url =
            CanonicalUrl::parse(&format!("{base}{path}{query}")).map_err(|error| format!("url: {error}"))?;
        let (host, proxy_mode) = (url.host().to_string(), ProxyMode::default_for(&url));
        Ok(Route {
            label,
            models,
            url,
            format,
            key: None,
            name: None,
            proxy_mode,
            limit_name: limit_name_of(&host).map(LimitName::as_str),
            timeout_ms: INFER_TIMEOUT_MS,
            price: None,
            circuit: Circuit::default(),
            refuses_stream_options: AtomicBool::new(false),
            pool: ConnectionPool::default(),
        })
    }

    fn serves(&self, model: &Target) -> bool {
        self.models.decide(&Query::new("main", Action::Infer, model)).decision == PolicyDecision::Permit
    }
}

/// The routes, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// Creates the routes of the `[[model]]` tables, and adds their keys to `secrets`. Relative paths are relative to
    /// `directory`.
    ///
    /// # Errors
    /// One sentence that names the table and contains no key.
    pub(crate) fn new(
        tables: Vec<ModelTable>,
        secrets: &mut Secrets,
        directory: &Path,
    ) -> Result<Routes, String> {
        let mut routes = Vec::new();
        for table in tables {
            let patterns = match table.r#match {
                Patterns::One(pattern) => vec![pattern],
                Patterns::Many(patterns) => patterns,
            };
            let label = patterns.join(", ");
            let within = |error: String| format!("[[model]] match = {label:?}: {error}");
            let mut route =
                Route::new(label.clone(), &patterns, &table.url.0, table.format).map_err(within)?;
            if let Some(key) = &table.key {
                let key = key.read(directory).map_err(within)?;
                route.key = Some(secrets.add_key(format!("[key of {label}]"), key).map_err(within)?);
            }
            route.name = table.name.map(Text::from);
            route.limit_name = table.limit_name.map(LimitName::as_str).or(route.limit_name);
            route.proxy_mode = match table.proxy {
                Some(true) => ProxyMode::Configured,
                Some(false) => ProxyMode::Direct,
                None => route.proxy_mode,
            };
            route.timeout_ms = table.timeout_ms.unwrap_or(INFER_TIMEOUT_MS);
            *route.refuses_stream_options.get_mut() = table.stream_options == Some(false);
            route.price = table.price.map(|table| table.price()).transpose().map_err(within)?;
            routes.push(Arc::new(route));
        }
        Ok(Routes(routes))
    }

    /// Adds a last route that serves every model, from `AK_INFER_URL` and `AK_INFER_KEY`, or else `OPENAI_BASE_URL` and
    /// `OPENAI_API_KEY`, if one of the URLs is set.
    ///
    /// # Errors
    /// Names the invalid variable and the reason.
    pub(crate) fn add_from_env(&mut self, secrets: &mut Secrets) -> Result<(), String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        for (variable, key) in [("AK_INFER_URL", "AK_INFER_KEY"), ("OPENAI_BASE_URL", "OPENAI_API_KEY")] {
            let Some(url) = set(variable) else { continue };
            let url = Url::try_from(url).map_err(|error| format!("{variable}: {error}"))?;
            let mut route = Route::new(variable.into(), &["*".into()], &url.0, ApiFormat::Chat)
                .map_err(|error| format!("{variable}: {error}"))?;
            if let Some(value) = set(key) {
                let value = secrets.add_key(format!("[{key}]"), Zeroizing::new(value));
                route.key = Some(value.map_err(|error| format!("{key}: {error}"))?);
            }
            self.0.push(Arc::new(route));
            break;
        }
        Ok(())
    }

    /// Returns the first route that serves the model.
    pub(crate) fn find(&self, model: &str) -> Option<Arc<Route>> {
        let target = Target::model(model).ok()?;
        self.0.iter().find(|route| route.serves(&target)).cloned()
    }

    /// Returns a message that says how to configure a server for the model.
    pub(crate) fn why_not(&self, model: &str) -> String {
        if !self.0.is_empty() {
            return format!("no [[model]] of the host configuration serves {model}");
        }
        "no model endpoint is configured: set AK_INFER_URL (or OPENAI_BASE_URL) to the base URL of an OpenAI-compatible \
         server, such as http://127.0.0.1:8080/v1, and AK_INFER_KEY (or OPENAI_API_KEY) to its key, or write a [[model]] \
         into the host configuration"
            .into()
    }

    /// Returns each route as an object for the operator: `match` (patterns), `origin` (server), `format` and `circuit`
    /// (state).
    pub(crate) fn to_value(&self) -> Value {
        let row = |route: &Arc<Route>| {
            object! {
                "match": route.label.as_str(), "origin": route.url.origin(), "format": route.format.as_str(),
                "circuit": route.circuit.state().as_str(),
            }
        };
        Value::from(self.0.iter().map(row).collect::<Vec<Value>>())
    }
}

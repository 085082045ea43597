//! Which model is asked where, in which format, with which key.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ak_json::{Text, Value, object};
use ak_kernel::{Failure, Price, Rates};
use ak_policy::{Action, CanonicalUrl, Policy, Query, Target, Verdict};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    config::{Source, Url},
    effects::infer::circuit::Circuit,
    net::Way,
    net::connection::Line,
    secrets::store::Secrets,
    secrets::value::SecretValue,
};

/// How long a model may take for its whole answer where the route does not say, in milliseconds.
pub const INFER_TIMEOUT_MS: u64 = 600_000;
/// Most connections to a model's server that are kept open while nobody uses them.
pub const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// `[[model]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    r#match: Patterns,
    url: Url,
    #[serde(default)]
    format: Format,
    key: Option<Source>,
    name: Option<String>,
    limit_name: Option<LimitName>,
    proxy: Option<bool>,
    timeout_ms: Option<u64>,
    stream_options: Option<bool>,
    price: Option<PriceTable>,
}

/// By which name a server of chat completions takes the limit on an answer's tokens.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum LimitName {
    MaxTokens,
    MaxCompletionTokens,
}

impl LimitName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    /// What is known of a host: OpenAI's newer models refuse the older name, and all of them take the newer one.
    fn of(host: &str) -> Option<LimitName> {
        (host == "api.openai.com").then_some(Self::MaxCompletionTokens)
    }
}

/// What a million tokens cost, in US dollars, and each picture and second of sound.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    input: Dollars,
    output: Dollars,
    cache_read: Option<Dollars>,
    cache_write: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    reasoning: Option<Dollars>,
    image: Option<Dollars>,
    audio_second: Option<Dollars>,
    #[serde(default)]
    tiers: Vec<TierTable>,
}

/// What a million tokens cost where the prompt is longer; what is not said is as before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierTable {
    above: u64,
    input: Option<Dollars>,
    output: Option<Dollars>,
    cache_read: Option<Dollars>,
    cache_write: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    reasoning: Option<Dollars>,
}

impl PriceTable {
    fn price(&self) -> Result<Price, String> {
        let of = |dollars: &Option<Dollars>| dollars.map(|dollars| dollars.0);
        let mut rates = Rates {
            input: self.input.0,
            output: self.output.0,
            cache_read: of(&self.cache_read),
            cache_write: of(&self.cache_write),
            cache_write_1h: of(&self.cache_write_1h),
            reasoning: of(&self.reasoning),
        };
        let (image, audio_second) = (of(&self.image).unwrap_or(0), of(&self.audio_second).unwrap_or(0));
        let mut price = Price { rates, tiers: Vec::new(), image, audio_second };
        for tier in &self.tiers {
            if price.tiers.last().is_some_and(|(above, _)| *above >= tier.above) {
                return Err("price.tiers: `above` has to ascend".into());
            }
            rates = Rates {
                input: of(&tier.input).unwrap_or(rates.input),
                output: of(&tier.output).unwrap_or(rates.output),
                cache_read: of(&tier.cache_read).or(rates.cache_read),
                cache_write: of(&tier.cache_write).or(rates.cache_write),
                cache_write_1h: of(&tier.cache_write_1h).or(rates.cache_write_1h),
                reasoning: of(&tier.reasoning).or(rates.reasoning),
            };
            price.tiers.push((tier.above, rates));
        }
        Ok(price)
    }
}

/// An amount, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Dollars(u64);

impl TryFrom<f64> for Dollars {
    type Error = &'static str;

    fn try_from(dollars: f64) -> Result<Dollars, &'static str> {
        // Exact in a float: below 2^53 millionths.
        const MOST: f64 = 1e9;
        if !(0.0..=MOST).contains(&dollars) {
            return Err("expected an amount of US dollars from 0 to a thousand million");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
        Ok(Dollars((dollars * 1e6).round() as u64))
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a pattern or an array of patterns")]
enum Patterns {
    One(String),
    Many(Vec<String>),
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenAI chat completions, which local servers speak too.
    #[default]
    #[serde(rename = "openai")]
    Chat,
    /// OpenAI responses.
    #[serde(rename = "openai-responses")]
    Responses,
    /// Anthropic messages.
    #[serde(rename = "anthropic")]
    Anthropic,
}

impl Format {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Anthropic => "/messages",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic",
        }
    }
}

/// Where some models are asked.
#[derive(Debug)]
pub(crate) struct Route {
    label: String,
    /// A policy that permits the models of this route.
    models: Policy,
    pub(crate) url: CanonicalUrl,
    pub(crate) format: Format,
    pub(crate) key: Option<SecretValue>,
    /// What the server calls the model, where it is not what the agent calls it.
    pub(crate) name: Option<Text>,
    /// By which name the server takes a limit; the one that the agent chose where it is not known.
    pub(crate) limit_name: Option<&'static str>,
    pub(crate) way: Way,
    pub(crate) timeout_ms: u64,
    pub(crate) price: Option<Price>,
    pub(crate) circuit: Circuit,
    /// Whether the server was found to refuse `stream_options`.
    refuses_stream_options: AtomicBool,
    /// Kept connections, and since when.
    idle: Mutex<Vec<(Line, Instant)>>,
}

impl Route {
    /// Whether a stream is asked to tell its usage: as long as the server is not known to refuse that.
    pub(crate) fn takes_stream_options(&self) -> bool {
        !self.refuses_stream_options.load(Ordering::Relaxed)
    }

    /// Remembers that the server refuses `stream_options`.
    pub(crate) fn refuse_stream_options(&self) {
        self.refuses_stream_options.store(true, Ordering::Relaxed);
    }

    /// Whether a refusal of a stream is about `stream_options`, which the host added.
    pub(crate) fn is_about_stream_options(&self, refusal: &Failure) -> bool {
        let status = refusal.context.get("status").and_then(Value::as_u64);
        let is_about_it =
            ["stream_options", "include_usage"].iter().any(|name| refusal.message.contains(name));
        self.format == Format::Chat && is_about_it && matches!(status, Some(400 | 404 | 415 | 422 | 501))
    }

    fn new(label: String, patterns: &[String], base: &CanonicalUrl, format: Format) -> Result<Route, String> {
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
            _ if base.ends_with(format.path()) => "",
            // Anthropic gives its base URL without the version.
            Format::Anthropic if base.ends_with(url_of.origin()) => "/v1/messages",
            _ => format.path(),
        };
        let url =
            CanonicalUrl::parse(&format!("{base}{path}{query}")).map_err(|error| format!("url: {error}"))?;
        let (host, way) = (url.host().to_string(), Way::to(&url));
        Ok(Route {
            label,
            models,
            url,
            format,
            key: None,
            name: None,
            way,
            limit_name: LimitName::of(&host).map(LimitName::as_str),
            timeout_ms: INFER_TIMEOUT_MS,
            price: None,
            circuit: Circuit::default(),
            refuses_stream_options: AtomicBool::new(false),
            idle: Mutex::default(),
        })
    }

    fn serves(&self, model: &Target) -> bool {
        self.models.decide(&Query::new("main", Action::Infer, model)).verdict == Verdict::Permit
    }

    /// A connection that another request has left.
    pub(crate) fn reuse(&self) -> Option<Line> {
        self.kept().pop().map(|(line, _)| line)
    }

    /// Leaves a connection to the next request.
    pub(crate) fn leave(&self, line: Line) {
        let mut kept = self.kept();
        if kept.len() < IDLE_CONNECTIONS_MAX {
            kept.push((line, Instant::now()));
        }
    }

    /// The connections that may still be of use: nobody looks whether the server has closed them meanwhile.
    fn kept(&self) -> MutexGuard<'_, Vec<(Line, Instant)>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(line, since)| !line.is_closed() && since.elapsed() < IDLE);
        idle
    }
}

/// The routes, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// # Errors
    /// One sentence that names the table and holds no key.
    pub(crate) fn new(
        tables: Vec<ModelTable>,
        secrets: &mut Secrets,
        source: &mut impl FnMut(&Source) -> Result<Zeroizing<String>, String>,
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
                let key = source(key).map_err(within)?;
                route.key = Some(secrets.add_key(format!("[key of {label}]"), key).map_err(within)?);
            }
            route.name = table.name.map(Text::from);
            route.limit_name = table.limit_name.map(LimitName::as_str).or(route.limit_name);
            route.way = match table.proxy {
                Some(true) => Way::Configured,
                Some(false) => Way::Direct,
                None => route.way,
            };
            route.timeout_ms = table.timeout_ms.unwrap_or(INFER_TIMEOUT_MS);
            *route.refuses_stream_options.get_mut() = table.stream_options == Some(false);
            route.price = table.price.map(|table| table.price()).transpose().map_err(within)?;
            routes.push(Arc::new(route));
        }
        Ok(Routes(routes))
    }

    /// Adds a last route for every model, from `AK_INFER_URL` and `AK_INFER_KEY`, or `OPENAI_BASE_URL` and
    /// `OPENAI_API_KEY`, where a URL is set.
    ///
    /// # Errors
    /// Says which variable is wrong, and why.
    pub(crate) fn add_from_env(&mut self, secrets: &mut Secrets) -> Result<(), String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        for (variable, key) in [("AK_INFER_URL", "AK_INFER_KEY"), ("OPENAI_BASE_URL", "OPENAI_API_KEY")] {
            let Some(url) = set(variable) else { continue };
            let url = Url::try_from(url).map_err(|error| format!("{variable}: {error}"))?;
            let mut route = Route::new(variable.into(), &["*".into()], &url.0, Format::Chat)
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

    /// The first route that serves the model.
    pub(crate) fn find(&self, model: &str) -> Option<Arc<Route>> {
        let target = Target::model(model).ok()?;
        self.0.iter().find(|route| route.serves(&target)).cloned()
    }

    /// What to do so that a model is served.
    pub(crate) fn why_not(&self, model: &str) -> String {
        if !self.0.is_empty() {
            return format!("no [[model]] of the host configuration serves {model}");
        }
        "no model endpoint is configured: set AK_INFER_URL (or OPENAI_BASE_URL) to the base URL of an OpenAI-compatible \
         server, such as http://127.0.0.1:8080/v1, and AK_INFER_KEY (or OPENAI_API_KEY) to its key, or write a [[model]] \
         into the host configuration"
            .into()
    }

    /// Each route as the operator sees it: its patterns, where it leads, and how its server does.
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

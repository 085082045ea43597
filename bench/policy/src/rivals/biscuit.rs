//! biscuit-auth: the rules are facts of an authorizer and are parsed beforehand; and its tokens.

use std::time::Duration;

use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit as Token, KeyPair, PublicKey, error};

use crate::scenario::{Answer, Decides, Request, Rule};

const POLICIES: &str = r#"
    deny if operation("fs.read"), target($path), forbidden($directory), $path.starts_with($directory);
    allow if operation("execute"), agent($role), target($tool), call($role, $tool, $max), cost($cost), $cost <= $max;
    allow if operation("fs.read"), target($path), readable($directory), $path.starts_with($directory);
    allow if operation("http.get"), host($host), open($host), path($path), $path.starts_with("/api/");
    deny if true;
"#;

pub struct Biscuit {
    authorizer: AuthorizerBuilder,
    requests: Vec<AuthorizerBuilder>,
}

impl Biscuit {
    pub fn new(rules: &[Rule], requests: &[Request]) -> Self {
        let facts: String = rules
            .iter()
            .map(|rule| match rule {
                Rule::Call { role, tool, cost_max } => format!("call(\"{role}\", \"{tool}\", {cost_max});"),
                Rule::Read { directory } => format!("readable(\"{directory}/\");"),
                Rule::Get { host } => format!("open(\"{host}\");"),
                Rule::Forbid { directory } => format!("forbidden(\"{directory}/\");"),
            })
            .collect();
        let code = |text: &str| AuthorizerBuilder::new().code(text).expect("Datalog");
        let request = |request: &Request| {
            let Request { agent, operation, target, url, cost, .. } = request;
            let (host, path) = url.unwrap_or(("", ""));
            code(&format!(
                "agent(\"{agent}\"); operation(\"{operation}\"); target(\"{target}\"); cost({cost}); \
                 host(\"{host}\"); path(\"{path}\");"
            ))
        };
        Self { authorizer: code(&(facts + POLICIES)), requests: requests.iter().map(request).collect() }
    }
}

impl Decides for Biscuit {
    fn decide(&mut self, request: usize) -> Answer {
        let authorizer = self.authorizer.clone().merge(self.requests[request].clone());
        let policy =
            authorizer.build_unauthenticated().and_then(|mut built| built.authorize_with_limits(unhurried()));
        match policy {
            Ok(_) => Answer::Permit,
            Err(error::Token::FailedLogic(error::Logic::Unauthorized {
                policy: error::MatchedPolicy::Deny(0),
                ..
            })) => Answer::Forbid,
            Err(error::Token::FailedLogic(_)) => Answer::Deny,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The default limits, but with 10 s instead of 1 ms, which a busy machine exceeds.
fn unhurried() -> AuthorizerLimits {
    AuthorizerLimits { max_time: Duration::from_secs(10), ..AuthorizerLimits::default() }
}

/// A token with the same restrictions as the one of `ak-policy`, and the request that it must cover.
pub struct BiscuitToken {
    root: PublicKey,
    token: Vec<u8>,
    question: AuthorizerBuilder,
}

impl BiscuitToken {
    pub fn new() -> Self {
        let root = KeyPair::new();
        let token = Token::builder()
            .code(
                r#"
                check if operation($o), ["fs.read", "fs.list", "fs.stat"].contains($o);
                check if target($path), $path.starts_with("/srv/data/team5/");
                check if agent("crew/reader");
                check if now($now), $now < 1800000000;
                "#,
            )
            .and_then(|builder| builder.build(&root))
            .and_then(|token| token.to_vec())
            .expect("a token");
        let question = AuthorizerBuilder::new()
            .code(
                r#"operation("fs.read"); target("/srv/data/team5/project5/a"); agent("crew/reader"); now(1700000000);
                   allow if true;"#,
            )
            .expect("Datalog");
        Self { root: root.public(), token, question }
    }

    /// Parses and verifies the token and evaluates its checks.
    pub fn verify(&self) -> bool {
        let token = Token::from(&self.token, self.root).expect("a valid token");
        self.question
            .clone()
            .build(&token)
            .and_then(|mut built| built.authorize_with_limits(unhurried()))
            .is_ok()
    }
}

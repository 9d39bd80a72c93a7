//! A model that a server has: where it is asked, and how often it may be.
//!
//! Where and which are a question, and in the key. How often, how long and with which password are
//! not. The password itself is nowhere here: an endpoint names the environment variable that holds
//! it.

use std::fmt;
use std::time::Duration;

use crate::amount;
use crate::mistake::Mistake;
use crate::model::{Given, Leaves, Settings};
use crate::path::Reach;
use crate::reference::{Reference, Template};
use crate::scope::Scope;
use crate::settings::Checker;
use crate::text::At;
use crate::tree::{Node, Table};

/// A model behind an address that speaks as OpenAI's servers do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The address, up to what stands before `/chat/completions`.
    pub url: String,
    /// What the server calls the model.
    pub model: String,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// How many questions are on their way at once.
    pub concurrency: u32,
    /// How many questions begin in a minute at most.
    pub requests_per_minute: Option<u32>,
    /// How often a question is asked again.
    pub retries: u32,
    /// How long one answer may take.
    pub timeout: Duration,
}

impl fmt::Display for Endpoint {
    /// What is in the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {:?}, model {:?}", self.url, self.model)
    }
}

/// The numerics class of what a server computed: it is not ours to repeat.
pub(crate) const NUMERICS: &str = "endpoint";

/// An endpoint as it is written.
#[derive(Debug)]
pub(crate) struct Served {
    model: Template,
    key_env: Option<String>,
    concurrency: u32,
    requests_per_minute: Option<u32>,
    retries: u32,
    timeout: Duration,
}

const CONCURRENCY: u32 = 8;
const RETRIES: u32 = 6;
const TIMEOUT: Duration = Duration::from_secs(600);

/// The name under which an endpoint is kept that is written in a step: none that can be written.
pub(crate) fn inline_name(at: At) -> String {
    format!(" {}:{}", at.file, at.start)
}

/// Whether a name was written by somebody.
pub(crate) fn is_written(name: &str) -> bool {
    !name.starts_with(' ')
}

/// Keys that a folder does not have.
const OWN: [&str; 6] =
    ["model", "key_env", "concurrency", "requests_per_minute", "retries", "timeout"];

impl Checker<'_> {
    /// Reads the models that servers have.
    pub(crate) fn endpoints(&mut self, models: Option<&Table>, settings: &mut Settings) {
        for item in models.into_iter().flat_map(Table::iter) {
            let Some(table) = item.node.table() else { continue };
            let name = item.name.escape_debug();
            let other = || OWN.iter().find_map(|it| table.get(it));
            let wrong = match (table.get("path"), table.get("endpoint"), other()) {
                (Some(_), Some(it), _) => Some((it, format!("`{name}` has a `path` already"))),
                (Some(_), None, Some(it)) => Some((
                    it,
                    format!("`{name}` is a folder, for which `{}` means nothing", it.name),
                )),
                (None, None, _) => {
                    Some((item, format!("`{name}` has no `path` and no `endpoint`")))
                }
                (None, Some(_), _) if table.get("model").is_none() => Some((
                    item,
                    format!("`{name}` does not say which `model` its server shall use"),
                )),
                _ => None,
            };
            if let Some((item, message)) = wrong {
                let mistake = self.say("manifest::path-or-endpoint", item.at, message);
                mistake.help = Some(
                    "a model is a folder, `{ path = … }`, or what a server has, `{ endpoint = …, model = … }`"
                        .to_owned(),
                );
            } else if let Some(it) = self.endpoint(table, &settings.params) {
                settings.models.insert(item.name.clone(), it);
            }
        }
    }

    /// Endpoints that stand in a step are models without a name.
    pub(crate) fn inline_endpoints(&mut self, steps: Option<&Table>, settings: &mut Settings) {
        for step in steps.into_iter().flat_map(Table::iter) {
            let ports = step.node.table().and_then(|it| it.get("in"));
            let ports = ports.and_then(|it| it.node.table());
            for port in ports.into_iter().flat_map(Table::iter) {
                let Some(table) = port.node.table() else { continue };
                if let Some(it) = self.endpoint(table, &settings.params) {
                    settings.models.insert(inline_name(port.node.at), it);
                }
            }
        }
    }

    /// Reads an endpoint; none where a part is missing that the grammar has complained about.
    fn endpoint(&mut self, table: &Table, params: &Leaves) -> Option<Given> {
        let get = |name: &str| table.get(name).map(|it| &it.node);
        let node = get("endpoint")?;
        let path = self.template(node)?;
        self.only_params(&path, node.at, params);
        if let Template::Plain(text) = &path
            && let Err(mistake) = check_url(text)
        {
            self.found.push(mistake.at(&self.project.texts, node.at, ""));
        }
        let model = get("model")?;
        let template = self.template(model)?;
        self.only_params(&template, model.at, params);
        let key_env = get("key_env").and_then(|it| Some((it, it.text()?)));
        if let Some((node, name)) = key_env
            && !is_variable(name)
        {
            // What is no name may be the key itself: it is not shown again.
            let message = "`key_env` is no name of an environment variable".to_owned();
            let mistake = self.say("manifest::bad-name", node.at, message);
            mistake.help = Some("the key itself never stands in a manifest".to_owned());
        }
        let number = |name: &str| get(name).and_then(|it| u32::try_from(it.int()?).ok());
        let served = Served {
            model: template,
            key_env: key_env.map(|it| it.1.to_owned()),
            concurrency: number("concurrency").unwrap_or(CONCURRENCY).max(1),
            requests_per_minute: number("requests_per_minute"),
            retries: number("retries").unwrap_or(RETRIES),
            timeout: get("timeout").and_then(time).unwrap_or(TIMEOUT),
        };
        let (reach, served) = (Reach::Anywhere, Some(Box::new(served)));
        Some(Given { served, ..Given::of(table, path, (reach, node.at)) })
    }

    fn only_params(&mut self, template: &Template, at: At, params: &Leaves) {
        for reference in template.references() {
            match reference {
                Reference::Param(name) => self.known_param(params, name, at),
                _ => {
                    let message = "only `params.NAME` can be referred to in an endpoint".to_owned();
                    self.say("manifest::bad-reference", at, message);
                }
            }
        }
    }
}

fn time(node: &Node) -> Option<Duration> {
    amount::time(node.text()?)
}

fn is_variable(name: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|it| !it.is_ascii_digit())
}

impl Served {
    /// The endpoint at this address, with its references filled in.
    pub(crate) fn endpoint(&self, url: String, scope: &Scope<'_>) -> Result<Endpoint, Mistake> {
        check_url(&url)?;
        let model = scope.text(&self.model)?;
        if model.is_empty() {
            let message = "the `model` of an endpoint is empty".to_owned();
            return Err(Mistake::new("manifest::bad-value", message));
        }
        Ok(Endpoint {
            url: url.trim_end_matches('/').to_owned(),
            model,
            key_env: self.key_env.clone(),
            concurrency: self.concurrency,
            requests_per_minute: self.requests_per_minute,
            retries: self.retries,
            timeout: self.timeout,
        })
    }
}

/// Looks for what cannot be an address, and for secrets in one.
fn check_url(url: &str) -> Result<(), Mistake> {
    let wrong = |message: &str, help: &str| {
        Err(Mistake::new("manifest::bad-endpoint", message.to_owned()).help(help))
    };
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        let message = "an endpoint begins with `http://` or `https://`";
        return wrong(message, "such as `http://127.0.0.1:8000/v1`");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        let help = "`key_env` names the environment variable that holds a key";
        return wrong("an endpoint's address holds no user and no password", help);
    }
    let odd = |it: char| it.is_whitespace() || it.is_control() || "?#\"\\".contains(it);
    if host.is_empty() || host.starts_with(':') || url.contains(odd) {
        return wrong("this is no address of an endpoint", "such as `http://127.0.0.1:8000/v1`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_secret_and_is_one_that_can_be_asked() {
        for good in ["http://127.0.0.1:8000/v1", "http://[::1]/", "https://api.example/v1"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://",
            "http://:80/v1",
            "ftp://a/v1",
            "https://",
            "https://me:secret@box/v1",
            "http://me:secret@box/v1",
            "http://box/v1?key=1",
            "http://box/v1#x",
            "http://a b/v1",
        ] {
            let mistake = check_url(bad).unwrap_err();
            assert!(!mistake.to_string().contains("secret"), "{bad}");
        }
    }
}

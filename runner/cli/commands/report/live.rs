//! The page, served while a run goes on: what happens now is read from the record of the newest run,
//! the results from the store. Nothing can be changed through it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ::report::page::{Live, Page, SCRIPT, live};
use ::serve::{Policy, Request, Response, token};
use plan::Key;
use steps::reporting::Item;
use store::Store;

use super::now::Now;
use super::{Args, language, open, page, words};
use crate::exit::Exit;
use crate::printer::{NAME, Printer};
use crate::trouble::Trouble;

const HTML: &str = "text/html; charset=utf-8";

/// Serves until the program is ended.
pub(super) fn serve(args: Args, address: SocketAddr, printer: &Printer) -> Result<Exit, Trouble> {
    let at = move |it| Trouble::Io { path: address.to_string(), source: it };
    let opened = open(&args)?;
    let reached = args.reach.listen(address, None, printer)?;
    let token = token().map_err(at)?;
    if !address.ip().is_loopback() {
        printer.warn("others can reach this page; whoever has the link can read it");
    }
    printer.data(format_args!("{}/{token}/", reached.origin));
    printer.act(NAME, "Serving", "until Ctrl-C; nothing can be changed through it");
    let served = Served {
        args,
        runs: opened.home.runs(),
        store: opened.store,
        token,
        now: Mutex::new(Now::default()),
        made: Mutex::new((String::new(), Page::default())),
    };
    reached.listener.run(move |it| served.answer(it)).map_err(at)?;
    Ok(Exit::Good)
}

struct Served {
    args: Args,
    runs: PathBuf,
    store: Store,
    token: String,
    now: Mutex<Now>,
    /// The newest page, and the version that it is of.
    made: Mutex<(String, Page)>,
}

impl Served {
    fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let what = path.strip_prefix('/').and_then(|it| it.split_once('/'));
        match what {
            _ if request.method != "GET" => Response::text(405, "this page is only read"),
            Some((token, "")) if token == self.token => self.html(),
            Some((token, "now")) if token == self.token => {
                let live = self.live();
                let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                Response::of(HTML, &live.part(&made.1))
            }
            Some((token, "live.js")) if token == self.token => {
                Response::of("text/javascript; charset=utf-8", SCRIPT)
            }
            _ => Response::text(404, "there is nothing here"),
        }
    }

    fn html(&self) -> Response {
        let mut it = self.live();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != it.version {
            match self.page() {
                Ok(page) => *made = (it.version.clone(), page),
                // A manifest that is being edited: the page before stays until it can be read again.
                Err(trouble) => {
                    it.version = "?".to_owned();
                    let text = engine::error::chain(&trouble);
                    it.now.blocks.push(::report::page::Block::Text(text));
                }
            }
        }
        Response { policy: Policy::Drawn, ..Response::of(HTML, &live(&made.1, &it)) }
    }

    fn live(&self) -> Live {
        let words = words::of(language(&self.args));
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let told = now.look(&self.runs);
        let (version, now) = match told {
            Ok(()) => (now.version(|key| length(&self.unfinished(key))), now.section(words)),
            Err(it) => (String::new(), super::now::unreadable(&it.to_string(), words)),
        };
        Live { version, now, lost: words.lost.to_owned() }
    }

    fn page(&self) -> Result<Page, Trouble> {
        let opened = open(&self.args)?;
        let words = words::of(language(&self.args));
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = now.running().filter_map(|(step, key)| {
            let (name, path) = (format!("{step} ({})", words.so_far), self.unfinished(&key));
            path.is_file().then(|| Item { name, path, ..Item::default() })
        });
        let unfinished = unfinished.collect();
        drop(now);
        Ok(page(&opened, &self.args, unfinished)?.0)
    }

    /// Where a training run that goes on keeps its log.
    fn unfinished(&self, key: &Key) -> PathBuf {
        self.store.part(key).join(steps::UNFINISHED_LOG)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |it| it.len())
}

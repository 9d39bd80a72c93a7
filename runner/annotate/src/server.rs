//! The page, served to those who have a link.
//!
//! Everything a page sends names how much it has seen done (`seq`). Where that is not how much was
//! done, nothing is taken and the page is told where it is: so two windows, or a request that is sent
//! again because its answer was lost, neither lose nor repeat anything.
//!
//! Where the study's file is changed by somebody else, every page is told so with status 503, and keeps
//! what was chosen on the screen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;
use serve::{Listener, Request, Response};

use crate::{AnnotateError, Did, Journal, Key, Place, Said, Seat, Seats, Sides, page, view};

/// Longest note, in characters.
const MAX_NOTE: usize = 4_000;
const DAY_MS: u64 = 86_400_000;
/// How often the study's file is looked at while nobody sends anything.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A study that is served.
pub struct Server {
    listener: Listener,
    pub(crate) pages: Arc<Pages>,
}

/// What those see who have a link.
pub(crate) struct Pages {
    journal: Mutex<Journal>,
    key: Key,
}

/// What a page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    seq: u64,
    #[serde(default)]
    undo: bool,
    #[serde(default)]
    place: usize,
    #[serde(default)]
    given: Given,
}

/// What somebody says of a task; no answers where it is skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    #[serde(default)]
    pub(crate) answers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) note: String,
    #[serde(default)]
    pub(crate) ms: u64,
}

/// A study as it is served there.
pub fn serve(listener: Listener, journal: Journal, key: Key) -> Server {
    let pages = Arc::new(Pages { journal: Mutex::new(journal), key });
    Server { listener, pages }
}

impl Server {
    /// The path of each annotator's link.
    pub fn paths(&self) -> Vec<(String, String)> {
        let journal = self.pages.journal();
        let seats = journal.seats().all().iter();
        let path = |name: &str| format!("/a/{}", self.pages.key.token(name));
        seats.map(|it| (it.name.clone(), path(&it.name))).collect()
    }

    /// Answers for ever. `say` is told, once, why votes do not count any more.
    pub fn run(self, say: impl Fn(&AnnotateError) + Send + 'static) -> Result<(), std::io::Error> {
        let (watched, pages) = (Arc::downgrade(&self.pages), self.pages);
        std::thread::spawn(move || watch(&watched, &say));
        self.listener.run(move |it| pages.handle(it))
    }
}

/// Looks at the study's file until it was changed, and all votes are kept elsewhere.
fn watch(pages: &Weak<Pages>, say: &dyn Fn(&AnnotateError)) {
    let mut said = String::new();
    while let Some(pages) = pages.upgrade() {
        let looked = pages.journal().look();
        if let Err(error) = looked {
            let text = error.to_string();
            if text != said {
                say(&error);
                said = text;
            }
            if matches!(error, AnnotateError::Stopped { .. }) {
                return;
            }
        }
        drop(pages);
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Pages {
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let get = request.method == "GET";
        let (token, what) = match parts[..] {
            ["page.js"] if get => {
                return Response::of("text/javascript; charset=utf-8", page::SCRIPT);
            }
            ["page.css"] if get => return Response::of("text/css; charset=utf-8", page::STYLE),
            ["a", token] => (token, ""),
            ["a", token, what] => (token, what),
            _ => return Response::text(404, "there is nothing here"),
        };
        let (mut journal, sides) = (self.journal(), self.key.sides());
        let found = |all: Option<String>, it: &Seat| match self.key.opens(&it.name, token) {
            true => Some(it.name.clone()),
            false => all,
        };
        // All are tried, so that how long it takes tells nothing.
        let Some(name) = journal.seats().all().iter().fold(None, found) else {
            return Response::text(404, "this link opens nothing");
        };
        match (get, what) {
            (true, "") => Response::of("text/html; charset=utf-8", &page::served()),
            (true, "state") => {
                // Whether votes still count is told with the state, whatever the reason.
                let stopped = journal.look().is_err();
                state(&journal, sides, &name, if stopped { 503 } else { 200 })
            }
            (false, "did") if request.method == "POST" => {
                if !request.json {
                    return Response::text(415, "JSON is what is taken here");
                }
                match serde_json::from_slice(&request.body) {
                    Ok(sent) => did(&mut journal, sides, &name, sent),
                    Err(it) => Response::text(400, &it.to_string()),
                }
            }
            _ => Response::text(405, "not so"),
        }
    }
}

fn state(journal: &Journal, sides: &Sides, name: &str, status: u16) -> Response {
    let seats = journal.seats();
    let seat = seats.seat(name).expect("the name was found in these seats");
    let body = json!({ "sheet": view::sheet(seats), "state": view::state(seats, sides, seat) });
    Response::of("application/json", &body.to_string()).with(status)
}

fn did(journal: &mut Journal, sides: &Sides, name: &str, sent: Sent) -> Response {
    let seats = journal.seats();
    let seat = seats.seat(name).expect("the name was found in these seats");
    if seat.seq != sent.seq {
        return state(journal, sides, name, 409);
    }
    let did = match sent.undo {
        true => Did::Undo { annotator: name.to_owned() },
        false => match seats.next(seat).filter(|it| it.place == sent.place) {
            None => return state(journal, sides, name, 409),
            Some(place) => Did::Said(said(seats, sides, seat, &place, sent.given)),
        },
    };
    match journal.record(did) {
        Ok(Ok(())) => state(journal, sides, name, 200),
        Ok(Err(reason)) => Response::text(422, &reason),
        Err(AnnotateError::Stopped { .. }) => state(journal, sides, name, 503),
        Err(error) => Response::text(500, &told(&error)),
    }
}

/// An error as a browser may see it: without the paths of this machine.
fn told(error: &AnnotateError) -> String {
    match error {
        AnnotateError::Io { source, .. } => format!("not kept: {source}"),
        _ => "not kept".to_owned(),
    }
}

/// What somebody said, with all that the server knows of it.
pub(crate) fn said(seats: &Seats, sides: &Sides, seat: &Seat, place: &Place, given: Given) -> Said {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Said {
        annotator: seat.name.clone(),
        unit: seats.study.units[place.unit].id.clone(),
        round: place.round,
        left: sides.left(seats, seat, place),
        answers: given.answers,
        note: given.note.chars().take(MAX_NOTE).collect(),
        ms: given.ms.min(DAY_MS),
        at: now.map_or(0, |it| it.as_secs()),
    }
}

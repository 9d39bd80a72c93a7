//! A page that is served and keeps itself up to date, with what goes on above what there is.

use super::html::{document, results, section, words};
use super::{Page, Section};
use crate::svg::escaped;

/// What a served page runs; it is asked for as `live.js`, and asks for `now`.
pub const SCRIPT: &str = include_str!("live.js");

/// What goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Which results the page shows: another one, and it asks for them anew.
    pub version: String,
    /// What goes on.
    pub now: Section,
    /// What is said when nobody answers any more.
    pub lost: String,
}

impl Live {
    /// The part that is asked for again and again.
    pub fn part(&self, page: &Page) -> String {
        let now = section("s-now", &self.now, &words(page.language));
        format!("<div id=\"now\" data-version=\"{}\">\n{now}</div>\n", escaped(&self.version))
    }
}

/// The whole page.
pub fn live(page: &Page, live: &Live) -> String {
    let (now, results) = (live.part(page), results(page));
    let lost = escaped(&live.lost);
    let body = format!(
        "<p id=\"lost\" class=\"warning\" hidden>{lost}</p>\n{now}<div id=\"results\">\n{results}</div>\n"
    );
    document(page, "<script src=\"live.js\" defer></script>\n", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Block;

    #[test]
    fn what_goes_on_is_a_part_of_the_page_and_is_no_markup() {
        let now =
            Section { title: "Now".to_owned(), blocks: vec![Block::Text("<b> runs".to_owned())] };
        let it = Live { version: "1\"".to_owned(), now, lost: "gone".to_owned() };
        let page = Page { title: "t".to_owned(), ..Page::default() };
        let (part, whole) = (it.part(&page), live(&page, &it));
        assert!(part.starts_with("<div id=\"now\" data-version=\"1&quot;\">"), "{part}");
        assert!(part.contains("<p>&lt;b&gt; runs</p>") && whole.contains(&part), "{whole}");
        assert!(whole.contains("<p id=\"lost\" class=\"warning\" hidden>gone</p>"), "{whole}");
        assert!(whole.contains("<div id=\"results\">") && !whole.contains("Security-Policy"));
    }
}

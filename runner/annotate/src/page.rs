//! The page: one HTML file, one script, one style sheet, all in the program.

/// The script.
pub(crate) const SCRIPT: &str = include_str!("page/page.js");
/// The style sheet.
pub(crate) const STYLE: &str = include_str!("page/page.css");

/// The page as it is served.
pub(crate) fn served() -> String {
    html("", "<link rel=\"stylesheet\" href=\"/page.css\">", "<script src=\"/page.js\"></script>")
}

/// The page as one file, with its data inside. `nonce` allows its own script and style, and no other.
pub(crate) fn alone(data: &str, nonce: &str) -> String {
    let policy = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
    );
    let style = format!("<style nonce=\"{nonce}\">\n{STYLE}</style>");
    // No text of the data can end the element that it stands in.
    let data = data.replace('<', "\\u003c");
    let script = format!(
        "<script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script>"
    );
    html(&policy, &style, &script)
}

fn html(policy: &str, style: &str, script: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{policy}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>kun annotate</title>\n{style}\n</head>\n<body>\n<div id=\"app\"></div>\n{script}\n\
         </body>\n</html>\n"
    )
}

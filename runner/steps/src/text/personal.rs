//! Personal data in a text: where a phone number, a card, an address or an account stands.
//!
//! Every kind has a check that chance seldom passes: digit borders, a check digit, a sum, a word
//! before it. What has none is not looked for.

use std::net::Ipv4Addr;

mod address;
mod digits;
mod url;

use digits::Number;

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    Mobile,
    IdCard,
    BankCard,
    Landline,
    Email,
    Ip,
    Qq,
    Wechat,
    Address,
}

impl Type {
    pub(crate) const ALL: [Type; 9] = [
        Type::Mobile,
        Type::IdCard,
        Type::BankCard,
        Type::Landline,
        Type::Email,
        Type::Ip,
        Type::Qq,
        Type::Wechat,
        Type::Address,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Mobile => "mobile",
            Type::IdCard => "id_card",
            Type::BankCard => "bank_card",
            Type::Landline => "landline",
            Type::Email => "email",
            Type::Ip => "ip",
            Type::Qq => "qq",
            Type::Wechat => "wechat",
            Type::Address => "address",
        }
    }

    /// What stands in its place.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Type::Mobile => "[手机号]",
            Type::IdCard => "[身份证号]",
            Type::BankCard => "[银行卡号]",
            Type::Landline => "[电话号码]",
            Type::Email => "[邮箱]",
            Type::Ip => "[IP地址]",
            Type::Qq => "[QQ号]",
            Type::Wechat => "[微信号]",
            Type::Address => "[地址]",
        }
    }
}

/// A place in a text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) what: Type,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Everything that is found, from left to right, none over another.
pub(crate) fn find(text: &str, found: &mut Vec<Found>) {
    found.clear();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let next = match bytes[at] {
            b'0'..=b'9' => {
                let number = Number::read(bytes, at);
                of_digits(text, &number).unwrap_or(Err(number.first_end()))
            }
            b'@' => email(bytes, at).ok_or(at + 1),
            b'Q' | b'q' | b'V' | b'v' | b'W' | b'w' => account(text, at).ok_or(at + 1),
            // The first bytes of 微, 扣 and 薇.
            0xe5 | 0xe6 | 0xe8 => account(text, at).ok_or(at + 3),
            _ => Err(at + 1),
        };
        match next {
            Err(next) => at = next,
            Ok(it) => {
                // An address begins before its digits, an e-mail's name may look like a number.
                while found.last().is_some_and(|last| last.end > it.start) {
                    found.pop();
                }
                found.push(it);
                at = it.end;
            }
        }
    }
}

/// What begins with digits, or holds them at its beginning.
fn of_digits(text: &str, number: &Number) -> Option<Result<Found, usize>> {
    let bytes = text.as_bytes();
    let of =
        |what, span: Option<(usize, usize)>| span.map(|(start, end)| Found { what, start, end });
    let it = of(Type::IdCard, number.id_card(bytes))
        .or_else(|| of(Type::Mobile, number.mobile(bytes)))
        .or_else(|| of(Type::BankCard, number.bank_card(bytes)))
        .or_else(|| of(Type::Landline, number.landline(bytes)))
        // What a page is called by is nobody's number, though it may look like one.
        .filter(|it| !url::is_inside(bytes, it.start))
        .or_else(|| of(Type::Ip, public_ip(bytes, number.start)))
        .or_else(|| of(Type::Address, address::around(text, number.start, number.first_end())));
    it.map(Ok)
}

fn email(bytes: &[u8], at: usize) -> Option<Found> {
    let in_name = |it: &u8| it.is_ascii_alphanumeric() || b"._%+-".contains(it);
    let name = bytes[..at].iter().rev().take(65).take_while(|it| in_name(it)).count();
    let start = at - name;
    if name == 0 || name > 64 || !bytes[start].is_ascii_alphanumeric() {
        return None;
    }
    let in_domain = |it: &u8| it.is_ascii_alphanumeric() || b".-".contains(it);
    let length = bytes[at + 1..].iter().take(254).take_while(|it| in_domain(it)).count();
    let domain = &bytes[at + 1..at + 1 + length];
    // A full stop at the end of a sentence is no part of it.
    let domain = &domain[..domain.iter().rposition(|it| it.is_ascii_alphabetic())? + 1];
    let mut labels = domain.split(|it| *it == b'.');
    let top = labels.next_back()?;
    let good = |it: &[u8]| !it.is_empty() && it[0] != b'-' && it[it.len() - 1] != b'-';
    let n_labels = labels.clone().count();
    let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    let ok = n_labels > 0 && labels.all(good) && is_top;
    ok.then_some(Found { what: Type::Email, start, end: at + 1 + domain.len() })
}

/// Four numbers up to 255 that are an address of the open Internet, and no version.
fn public_ip(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let before = start.checked_sub(1).map(|it| bytes[it]);
    if before.is_some_and(|it| it.is_ascii_alphanumeric() || b".-_".contains(&it)) {
        return None;
    }
    let mut parts = [0_u8; 4];
    let mut at = start;
    for (i, part) in parts.iter_mut().enumerate() {
        if i > 0 {
            (bytes.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
        let n = bytes[at..].iter().take(4).take_while(|it| it.is_ascii_digit()).count();
        let number = std::str::from_utf8(&bytes[at..at + n]).ok()?;
        if n > 1 && number.starts_with('0') {
            return None;
        }
        *part = number.parse().ok()?;
        at += n;
    }
    let after = |i: usize| bytes.get(at + i);
    let goes_on = after(0).is_some_and(u8::is_ascii_alphanumeric)
        || after(0) == Some(&b'.') && after(1).is_some_and(u8::is_ascii_digit);
    (!goes_on && is_public(parts)).then_some((start, at))
}

fn is_public(parts: [u8; 4]) -> bool {
    let it = Ipv4Addr::from(parts);
    let [a, b, ..] = parts;
    let shared = a == 100 && (64..128).contains(&b);
    let bench = a == 198 && (b == 18 || b == 19);
    let closed = it.is_private() || it.is_loopback() || it.is_link_local() || it.is_documentation();
    // Below 10 versions of programs are far more frequent than machines.
    !closed && !shared && !bench && (10..224).contains(&a)
}

/// The account behind a word such as `QQ` or `微信号：`.
fn account(text: &str, at: usize) -> Option<Found> {
    const QQ: [&str; 4] = ["QQ", "qq", "Qq", "扣扣"];
    const WECHAT: [&str; 12] = [
        "微信", "薇信", "WeChat", "Wechat", "wechat", "Weixin", "weixin", "VX", "vx", "V信", "v信",
        "WX",
    ];
    let rest = &text[at..];
    let word = |all: &[&'static str]| all.iter().find(|it| rest.starts_with(**it)).copied();
    let (what, word) = match word(&QQ) {
        Some(it) => (Type::Qq, it),
        None => (Type::Wechat, word(&WECHAT)?),
    };
    let before = at.checked_sub(1).map(|it| text.as_bytes()[it]);
    if before.is_some_and(|it| it.is_ascii_alphanumeric()) {
        return None;
    }
    let after = &rest[word.len()..];
    let name = after.trim_start_matches(['号', '码', '群', '是', '为', '：', ':', ' ']);
    let said = after[..after.len() - name.len()].contains(['号', '：', ':']);
    let in_name = |it: &u8| it.is_ascii_alphanumeric() || b"_-".contains(it);
    let length = name.bytes().take(32).take_while(in_name).count();
    let account = &name.as_bytes()[..length];
    let number = account.iter().all(u8::is_ascii_digit);
    let ok = match what {
        Type::Qq => number && (5..=11).contains(&length) && account[0] != b'0',
        _ if number => said && (5..=11).contains(&length),
        _ => said && (6..=20).contains(&length) && account[0].is_ascii_alphabetic(),
    };
    let start = text.len() - name.len();
    let is_email = name.as_bytes().get(length) == Some(&b'@');
    (ok && !is_email).then_some(Found { what, start, end: start + length })
}

#[cfg(test)]
mod tests;
